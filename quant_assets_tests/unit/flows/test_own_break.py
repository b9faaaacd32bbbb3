"""Minutes of one session on another price basis than its day: what they stand beside is told, and what can be read."""

from dataclasses import dataclass
from functools import lru_cache

import polars as pl
import pytest

from quant_assets.domain.tables import ADJUSTMENT_FACTORS
from quant_assets.errors import NoMoveError, UnexplainedBreakError
from quant_assets.flows.confirming import breaks, confirm
from quant_assets.gateway.synthetic import SyntheticMarket
from quant_assets.lakehouse.features import FeatureStore
from quant_assets.lakehouse.layout import Partition
from quant_assets_tests.builders import CALENDAR
from quant_assets_tests.unit.flows.lab import SESSION, Lab, after

FACTOR = 17.0
BEFORE, BREAK, LATER = DAYS = (CALENDAR.previous(SESSION), SESSION, CALENDAR.following(SESSION))


class Apart(SyntheticMarket):
    """The synthetic market, with the minutes of one session of one instrument 17 times its prices, which is no split."""

    def minute_bars(self, instrument, start, end, what, as_of):
        bars = super().minute_bars(instrument, start, end, what, as_of)
        if instrument.symbol != "QFID":
            return bars
        there = pl.col("ts").dt.date() == BREAK
        changed = [
            pl.when(there).then(pl.col(name) * FACTOR).otherwise(name).alias(name)
            for name in ("open", "high", "low", "close", "wap")
        ]
        volume = pl.when(there).then(pl.col("volume") / FACTOR).otherwise("volume")
        return bars.with_columns(*changed, volume.cast(bars.schema["volume"]).alias("volume"))


@lru_cache(maxsize=1)
def market() -> Apart:
    return Apart(7)


@dataclass(frozen=True)
class Lived:
    lab: Lab
    store: FeatureStore

    def minutes(self, first, last):
        return self.store.get_curated_bars(["QFID"], first, last, adjust="splits")


@pytest.fixture(scope="module")
def lived(tmp_path_factory) -> Lived:
    lab = Lab(tmp_path_factory.mktemp("apart"), symbols=("ARCA:QMKT", "NYSE:QFID"), market=market)
    for day in DAYS:
        assert all(one.is_committed for one in lab.run([day]).published)
    factors = lab.lake.curated.read(ADJUSTMENT_FACTORS, Partition(BREAK)).filter(pl.col("kind") == "unexplained_break")
    assert factors.select("symbol", "session").rows() == [("QFID", BREAK)]
    return Lived(lab, FeatureStore(lab.lake.layout, CALENDAR))


@pytest.mark.parametrize(
    ("first", "last", "ways"),
    [
        (BEFORE, LATER, f"from {LATER} on, up to {BEFORE}, {BREAK} alone"),
        (BREAK, LATER, f"from {LATER} on, {BREAK} alone"),
        (BEFORE, BREAK, f"up to {BEFORE}, {BREAK} alone"),
    ],
)
def test_every_way_out_that_the_refusal_names_is_one(lived, first, last, ways):
    with pytest.raises(UnexplainedBreakError) as caught:
        lived.minutes(first, last)
    text = str(caught.value)
    assert text.startswith(f"QFID's minutes of {BREAK} are on another price basis than all other prices, and nothing")
    assert f'Ask with adjust="as_served", {ways}, or without QFID.' in text
    if "up to" in ways:
        assert lived.minutes(first, BEFORE).height > 0
    if "from" in ways:
        assert lived.minutes(LATER, last).height > 0
    assert lived.minutes(BREAK, BREAK).height > 0


def test_nobody_can_call_it_a_move(lived):
    with lived.lab.at(after(LATER)) as work:
        (one,) = breaks(work)
        assert (one.session, one.may_be_a_move, one.close_before) == (BREAK, False, None)
        with pytest.raises(NoMoveError, match="two answers for the same prices differ"):
            confirm(work, BREAK, "QFID", by="anna", why="it moved")
        assert not work.layout.overrides.exists()
