"""A symbol without its exchange: it means an instrument only where no other one has it, whoever is asked."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

import pytest

from quant_assets.domain.tables import UNIVERSE
from quant_assets.errors import ConfigurationError
from quant_assets.flows.discover import Discovery
from quant_assets.flows.plan import plan_cycle
from quant_assets.gateway.market import Instrument
from quant_assets.gateway.synthetic import SyntheticMarket
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.unit.discovery.house import House
from quant_assets_tests.unit.flows.lab import SESSION, after

TWIN = 999_000_001
"""Above every con_id of the market, so that it comes last wherever members are in order."""


class Doubled(SyntheticMarket):
    """The market with a second QFID, of its own, on another exchange."""

    def __init__(self, seed: int, exchange: str, currency: str) -> None:
        super().__init__(seed)
        self.twin = {"con_id": TWIN, "primary_exchange": exchange, "currency": currency}

    def instruments(self, as_of: datetime) -> Sequence[Instrument]:
        found = super().instruments(as_of)
        return [*found, *(replace(one, **self.twin) for one in found if one.name == "QFID")]


def house(tmp_path, exchange, currency, **more):
    made = House(tmp_path, lakehouse={"start_session": "2019-01-02", "calendars": ["XNYS", "XLON"]}, **more)
    made.market = partial(Doubled, 7, exchange, currency)
    made.symbols = ("NYSE:QFID", f"{exchange}:QFID")
    return made


def members(lab):
    rows = lab.lake.curated.read(UNIVERSE, Partition(SESSION)).select("exchange", "symbol", "con_id")
    return {f"{exchange}:{symbol}": con_id for exchange, symbol, con_id in rows.iter_rows()}


def rediscovered(lab, *symbols):
    """Discover again with another list; returns what the gateway was asked for."""
    lab.symbols = symbols
    with lab.at(after(SESSION)) as work:
        Discovery(work).publish(SESSION)
        return work.gate.requests_served()


def test_one_that_the_universe_has_once_is_not_asked_for_again(tmp_path):
    lab = House(tmp_path)
    lab.discover()
    known = members(lab)
    assert rediscovered(lab, "QFID") == 0
    assert members(lab) == {"NYSE:QFID": known["NYSE:QFID"]}


def test_of_two_that_the_universe_has_tws_says_which_is_meant(tmp_path):
    """In dollars there is only one of them, and a bare symbol is asked for in dollars."""
    lab = house(tmp_path, "LSE", "GBP")
    lab.discover()
    both = members(lab)
    assert both.keys() == {"NYSE:QFID", "LSE:QFID"}
    lab.symbols = ("QFID",)
    with lab.at(after(SESSION)) as work:
        assert plan_cycle(work, [SESSION]).universe.n_details == 1
    assert rediscovered(lab, "QFID") == 1
    assert members(lab) == {"NYSE:QFID": both["NYSE:QFID"]}


@pytest.mark.parametrize("are_known", [False, True])
def test_one_by_which_tws_knows_two_is_refused_with_both_names(tmp_path, are_known):
    lab = house(tmp_path, "AMEX", "USD")
    if are_known:
        lab.discover()
    with pytest.raises(ConfigurationError, match=r"QFID means NYSE:QFID or AMEX:QFID.*Write EXCHANGE:SYMBOL"):
        rediscovered(lab, "ARCA:QMKT", "QFID")


def test_lax_discovery_drops_one_by_which_tws_knows_two(tmp_path):
    lab = house(tmp_path, "AMEX", "USD", discovery={"strict": False})
    lab.symbols = ("ARCA:QMKT", "QFID")
    published = lab.discover()
    assert set(members(lab)) == {"ARCA:QMKT"}
    assert published.metadata["dropped_records"] == {"list:core: means NYSE:QFID or AMEX:QFID": 1}
