"""From names to instruments: what TWS says that a name is, asked once per name and fetch throttle."""

from collections.abc import Sequence

import polars as pl

from quant_assets.connectors.base import Contract, ContractDetails
from quant_assets.domain import venues
from quant_assets.domain.tables import UNIVERSE
from quant_assets.flows.discover import members
from quant_assets.flows.ingest.details import ask_details
from quant_assets.flows.ingest.ledger import throttle_of
from quant_assets.flows.work import Work
from quant_assets.settings.names import split_qualified

Member = dict[str, object]


def resolve(work: Work, names: Sequence[str]) -> dict[str, Sequence[Member]]:
    """Return what each name means: one instrument, none where TWS knows none, several where a symbol alone means them.

    TWS is asked for what it was not asked lately.
    """
    known = _known(work)
    to_ask = [name for name in dict.fromkeys(names) if name not in known]
    asked = _ask(work, to_ask) if to_ask else {}
    return {name: [known[name]] if name in known else asked[name] for name in dict.fromkeys(names)}


def _known(work: Work) -> dict[str, Member]:
    """Return names that the newest universe resolved within the fetch throttle."""
    newest = work.lake.curated.newest(UNIVERSE)
    rows = work.lake.curated.read_many(UNIVERSE, [newest] if newest else [])
    fresh = rows.filter(pl.col("observed_at") >= work.clock.now() - throttle_of(work))
    return members.by_name(fresh.select(members.IDENTITY))


def _ask(work: Work, names: Sequence[str]) -> dict[str, Sequence[Member]]:
    contracts = []
    for name in names:
        exchange, symbol = split_qualified(name)
        contracts.append(
            Contract.listed(exchange, symbol, venues.asset_class_at(exchange), venues.currency_at(exchange))
        )
    answers = work.gate.run(lambda opened: ask_details(work, opened, contracts), len(contracts))
    return {name: _meant(answer, name) for name, answer in zip(names, answers, strict=True)}


def _meant(answer: Sequence[ContractDetails], name: str) -> Sequence[Member]:
    """Return the instrument that is listed on the exchange that a name has; without one, each that TWS answers with."""
    exchange, _ = split_qualified(name)
    listed: dict[int, ContractDetails] = {}
    for one in answer:  # without an exchange TWS names every venue of an instrument
        if exchange in ("", one.primary_exchange, one.exchange):
            listed.setdefault(one.con_id, one)
    found = [members.identity(one) for one in listed.values()]
    return found[:1] if exchange else found
