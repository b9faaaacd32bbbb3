"""Reads of many partitions that open no file but those that hold what was asked for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from quant_assets.domain.tables import UNIVERSE, Table
from quant_assets.errors import ConfigurationError, NotPublishedError, UnknownNameError
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.store import CuratedStore
from quant_assets.settings.names import split_qualified


@dataclass(frozen=True, slots=True)
class Plan:
    """Partitions of one table that answer a question, and those that cannot."""

    table: Table
    files: dict[date, Path] = field(default_factory=dict)
    content_ids: dict[date, str] = field(default_factory=dict)
    missing: tuple[date, ...] = ()
    """Sessions without a partition."""
    withheld: tuple[date, ...] = ()
    """Sessions whose partition rests on something that became known after the instant of knowledge."""
    known_until: str = ""
    """Newest knowledge among the inputs of the partitions."""


def plan_reads(store: CuratedStore, table: Table, sessions: Iterable[date], as_of: datetime | None) -> Plan:
    """Choose a table's partitions of some sessions; only manifests are read.

    Args:
        store: where the table is.
        table: one of silver or gold, partitioned by session.
        sessions: the sessions that are asked for.
        as_of: instant of knowledge; None for what stands now.
    """
    files, ids, missing, withheld, known = {}, {}, [], [], [""]
    for session in sorted(set(sessions)):
        partition = Partition(session)
        footer = store.footer(table, partition)
        if footer is None:
            missing.append(session)
        elif as_of is not None and (not footer.watermark or datetime.fromisoformat(footer.watermark) > as_of):
            withheld.append(session)
        else:
            files[session], ids[session] = store.layout.file(table, partition), footer.content_id
            known.append(footer.watermark)
    return Plan(table, files, ids, tuple(missing), tuple(withheld), max(known))


def read_instruments(
    store: CuratedStore, plan: Plan, con_ids: Sequence[int], columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """Return the rows of some instruments from the partitions of a plan, in the order of the sessions.

    Raises:
        CorruptFileError: a file cannot be read.
    """
    return store.read_many(plan.table, [Partition(session) for session in plan.files], columns, con_ids)


def resolve_symbols(store: CuratedStore, symbols: Sequence[str], sessions: Sequence[date]) -> dict[str, int]:
    """Return the con_id of each symbol, as the newest universe of the sessions that has it knows it.

    Args:
        store: where the universes are.
        symbols: `QMKT` or `ARCA:QMKT`.
        sessions: ascending; universes are opened from the last one back, until every symbol is found.

    Raises:
        UnknownNameError: no universe of the sessions has the symbol; suggests the nearest one.
        NotPublishedError: there is no universe in the sessions at all.
        ConfigurationError: no symbol was given, or one stands for several instruments.
    """
    if not symbols or isinstance(symbols, str):
        raise ConfigurationError("symbols", "a list of at least one symbol is needed.", "For example ['ARCA:SPY'].")
    found: dict[str, int] = {}
    known: set[str] = set()
    for session in reversed(sessions):
        left = [name for name in symbols if name not in found]
        if not left:
            break
        if not store.exists(UNIVERSE, Partition(session)):
            continue
        members = _members(store.read(UNIVERSE, Partition(session), ["con_id", "symbol", "exchange"]))
        known |= set(members)
        found |= {name: con_id for name in left if (con_id := _con_id(members, name)) is not None}
    if not known:
        span = f"{sessions[0]}..{sessions[-1]}" if sessions else "no session"
        raise NotPublishedError(UNIVERSE.name, span, "Run `quant flow data` for these sessions.")
    for name in symbols:
        if name not in found:
            raise UnknownNameError("instrument", name, known)
    return {name: found[name] for name in symbols}


def _members(universe: pl.DataFrame) -> dict[str, list[tuple[str, int]]]:
    """Return `QMKT` and `ARCA:QMKT` → the (qualified name, con_id) of every member that is called so."""
    named: dict[str, list[tuple[str, int]]] = {}
    for con_id, symbol, exchange in universe.iter_rows():
        qualified = f"{exchange}:{symbol}"
        for name in (symbol, qualified):
            named.setdefault(name, []).append((qualified, con_id))
    return named


def _con_id(members: Mapping[str, Sequence[tuple[str, int]]], name: str) -> int | None:
    exchange, symbol = split_qualified(name)
    mine = members.get(f"{exchange}:{symbol}" if exchange else symbol, [])
    if len(mine) > 1:
        problem = f"{name!r} stands for {len(mine)} instruments: {', '.join(qualified for qualified, _ in mine)}."
        raise ConfigurationError("symbols", problem, "Name one of them.")
    return mine[0][1] if mine else None


def aware(what: str, instant: datetime) -> datetime:
    """Return an instant in UTC.

    Raises:
        ConfigurationError: it has no time zone.
    """
    if instant.tzinfo is None:
        raise ConfigurationError(what, f"{instant} has no time zone.", "Say which, for example datetime.now(UTC).")
    return instant.astimezone(UTC)
