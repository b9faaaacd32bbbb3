"""From names to instruments: what TWS says that a name is, asked once per name and fetch throttle."""

from collections.abc import Sequence

import polars as pl

from quant_assets.connectors.base import Contract, ContractDetails
from quant_assets.domain import venues
from quant_assets.domain.tables import UNIVERSE
from quant_assets.flows.discover.members import IDENTITY, identity
from quant_assets.flows.ingest.details import ask_details
from quant_assets.flows.ingest.ledger import throttle_of
from quant_assets.flows.work import Work
from quant_assets.settings.names import split_qualified

Member = dict[str, object]


def resolve(work: Work, names: Sequence[str]) -> dict[str, Member | None]:
    """Return the instrument of each name, or None where TWS knows none; it is asked for what it was not lately."""
    known = _known(work)
    to_ask = [name for name in dict.fromkeys(names) if name not in known]
    asked = _ask(work, to_ask) if to_ask else {}
    return {name: known[name] if name in known else asked[name] for name in dict.fromkeys(names)}


def _known(work: Work) -> dict[str, Member]:
    """Return names that the newest universe resolved within the fetch throttle."""
    stored = work.lake.curated.partitions(UNIVERSE)
    rows = work.lake.curated.read_many(UNIVERSE, stored[-1:])
    fresh = rows.filter(pl.col("observed_at") >= work.clock.now() - throttle_of(work))
    known: dict[str, Member] = {}
    for row in fresh.iter_rows(named=True):
        member = {name: row[name] for name in IDENTITY}
        known[f"{row['exchange']}:{row['symbol']}"] = member
        known[row["symbol"]] = member
    return known


def _ask(work: Work, names: Sequence[str]) -> dict[str, Member | None]:
    contracts = []
    for name in names:
        exchange, symbol = split_qualified(name)
        contracts.append(
            Contract.listed(exchange, symbol, venues.asset_class_at(exchange), venues.currency_at(exchange))
        )
    answers = work.gate.run(lambda opened: ask_details(work, opened, contracts))
    return {name: _best(answer, name) for name, answer in zip(names, answers, strict=True)}


def _best(answer: Sequence[ContractDetails], name: str) -> Member | None:
    """Return the instrument that a name means: the one listed on the exchange it names, else the only one."""
    exchange, _ = split_qualified(name)
    listed = [one for one in answer if not exchange or exchange in (one.primary_exchange, one.exchange)]
    return identity(listed[0]) if listed else None
