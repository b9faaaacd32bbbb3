"""Reads of many partitions that open no file but those that hold what was asked for."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import NoReturn

import polars as pl

from quant_assets.domain.symbology import called, canonical
from quant_assets.domain.tables import INSTRUMENTS, UNIVERSE, Table
from quant_assets.errors import ConfigurationError, NotPublishedError, UnknownNameError
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.store import CuratedStore
from quant_assets.settings.names import split_qualified

_NO_ALIASES: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class PastReading:
    """The tables as they were known at an instant, and where each partition that was read came from."""

    store: CuratedStore
    origins: Mapping[tuple[str, str], str]
    """(table, partition key) → stored, recomputed or unknown."""


OpenPast = Callable[[datetime], AbstractContextManager[PastReading]]
"""Opens the tables as they were known at an instant."""


@contextmanager
def opened(past: OpenPast, as_of: datetime) -> Iterator[PastReading]:
    """Open the tables as of then; what was not there yet is no reason to fetch anything today."""
    with past(as_of) as reading:
        try:
            yield reading
        except NotPublishedError as error:
            mend = f"Nothing of it was known at {as_of:%Y-%m-%d %H:%M:%SZ}: ask as of a later instant, or as of now."
            raise NotPublishedError(error.table, error.partition, mend) from error


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


def resolve_symbols(
    store: CuratedStore,
    symbols: Sequence[str],
    sessions: Sequence[date],
    aliases: Mapping[str, str] = _NO_ALIASES,
    *,
    takes_newest: bool = False,
) -> dict[str, int]:
    """Return the con_id of each symbol: the one instrument that bore it within the sessions.

    The dimension `instruments` of the newest session answers for all of them; where there is none, or it does not
    know the symbol, the universes do, from the last one back.

    Args:
        store: where the universes are.
        symbols: `QMKT` or `ARCA:QMKT`.
        sessions: ascending.
        aliases: other names -> names, as `AMEX:SPY` -> `ARCA:SPY`.
        takes_newest: where a symbol was given to another instrument, the newest bearer is meant: for questions about
            the end of the sessions, not about all of them.

    Raises:
        UnknownNameError: no universe of the sessions has the symbol; suggests the nearest one.
        NotPublishedError: there is no universe in the sessions at all.
        ConfigurationError: a symbol stands for several instruments; names them, and since when and until when.
    """
    names = {name: canonical(name, aliases) for name in symbols}
    found = _by_dimension(store, list(names.values()), sessions, takes_newest=takes_newest)
    known: set[str] = set(found)
    for session in reversed(sessions):
        left = [name for name in names.values() if name not in found]
        if not left:
            break
        if not store.exists(UNIVERSE, Partition(session)):
            continue
        members = _members(store.read(UNIVERSE, Partition(session), ["con_id", "symbol", "exchange"]))
        known |= set(members)
        found |= {name: con_id for name in left if (con_id := _con_id(members, name)) is not None}
    if not known:
        span = f"{sessions[0]}..{sessions[-1]}" if sessions else ""
        mend = "Run `quant flow data` for these sessions." if sessions else "Run `quant flow data`."
        raise NotPublishedError(UNIVERSE.name, span, mend)
    for name in names.values():
        if name not in found:
            raise UnknownNameError("instrument", name, known)
    return {asked: found[name] for asked, name in names.items()}


def newest_dimension(store: CuratedStore, sessions: Sequence[date]) -> date | None:
    """Return the newest of some sessions whose dimension `instruments` is published."""
    return next((day for day in reversed(sessions) if store.exists(INSTRUMENTS, Partition(day))), None)


def _by_dimension(
    store: CuratedStore, names: Sequence[str], sessions: Sequence[date], *, takes_newest: bool
) -> dict[str, int]:
    """Return the con_ids that the newest dimension within the sessions knows; one file is read."""
    newest = newest_dimension(store, sessions)
    if newest is None:
        return {}
    columns = ["con_id", "symbol", "exchange", "primary_exchange", "valid_from", "last_seen"]
    instruments = store.read(INSTRUMENTS, Partition(newest), columns)
    found: dict[str, int] = {}
    for name in names:
        exchange, symbol = split_qualified(name)
        bearers = called(instruments, symbol, exchange, sessions[0], sessions[-1])
        if takes_newest:
            bearers = bearers.filter(pl.col("until") == pl.col("until").max())
        if bearers.height == 1:
            found[name] = bearers["con_id"][0]
        elif not bearers.is_empty():
            told = [
                f"{listed}:{symbol} (con_id {con_id}, {since}..{until})"
                for con_id, listed, since, until in bearers.iter_rows()
            ]
            is_listed_once = bearers["listed"].n_unique() < bearers.height
            _refuse_several(
                name, told, "Ask for the sessions of one of them." if is_listed_once else "Name one of them."
            )
    return found


def _refuse_several(name: str, instruments: Sequence[str], mend: str = "Name one of them.") -> NoReturn:
    problem = f"{name!r} stands for {len(instruments)} instruments: {', '.join(instruments)}."
    raise ConfigurationError("symbols", problem, mend)


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
        _refuse_several(name, [qualified for qualified, _ in mine])
    return mine[0][1] if mine else None
