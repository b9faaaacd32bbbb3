"""Screens over the lakehouse: one row per instrument with every field that conditions name, as of a session."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from quant_assets.connectors.scanners import Scanner, load_scanner
from quant_assets.domain.candidates import metrics
from quant_assets.domain.features import GROUPS
from quant_assets.domain.screens import METRICS, fields, judge, ranked, tables_of
from quant_assets.domain.tables import CURATED_TWS_1D_BARS, Table
from quant_assets.errors import ConfigurationError, NotPublishedError, UnknownNameError
from quant_assets.flows.reader import Reader
from quant_assets.flows.work import Work
from quant_assets.lakehouse.footer import Footer
from quant_assets.lakehouse.layout import Partition
from quant_assets.settings.manifest import Profile

ALL_HISTORY = 10_000
"""Sessions that metrics may look back: all that the stored window has."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Rows to be screened, and what they were read from."""

    frame: pl.DataFrame
    """con_id and one column per field, named as the field."""
    inputs: dict[str, str] = field(default_factory=dict)
    """`table|session` → content id."""
    watermark: str = ""
    """Newest knowledge among the inputs."""


def fields_of(scanner: Scanner) -> list[str]:
    """Return the fields that a lakehouse screen reads."""
    named = [one.field for one in scanner.conditions()]
    return sorted({*named, *([scanner.rank.by] if scanner.rank else [])})


def gather(store: Reader, session: date, names: Sequence[str]) -> Gathered:
    """Read the fields of every instrument that the daily bars of a session hold.

    Args:
        store: where the tables are.
        session: the session that values belong to; nothing later is read.
        names: `table.column`, see `domain.screens.fields`.

    Raises:
        NotPublishedError: a table that a field comes from lacks the session.
    """
    standing = list(_standing(store, session, names))
    known = [max(footer.watermark, footer.known_until) for _, footer in standing]
    legal = [name for name in names if name in fields()]
    whole, *frames = [frame for table, _ in standing for frame in _of_table(store, table, session, legal)]
    for frame in frames:
        whole = whole.join(frame, on="con_id", how="left")
    return Gathered(whole.sort("con_id"), _ids(session, standing), max(known))


def inputs_of(store: Reader, session: date, names: Sequence[str]) -> dict[str, str]:
    """Return `table|session` → content id of what `gather` reads; not a row is read for it.

    Raises:
        NotPublishedError: as `gather`.
    """
    return _ids(session, _standing(store, session, names))


def _standing(store: Reader, session: date, names: Sequence[str]) -> Iterator[tuple[Table, Footer]]:
    """Yield the tables that fields come from, the daily bars first: they say who is there at all."""
    wanted = {table.name: table for table in (CURATED_TWS_1D_BARS, *tables_of(names))}
    for table in wanted.values():
        footer = store.footer(table, Partition(session))
        if footer is None:
            mend = f"Run `quant flow data --session {session}`."
            raise NotPublishedError(table.name, str(session), mend)
        yield table, footer


def _ids(session: date, standing: Iterable[tuple[Table, Footer]]) -> dict[str, str]:
    return {f"{table.name}|{session}": footer.content_id for table, footer in standing}


def _of_table(store: Reader, table: Table, session: date, names: Sequence[str]) -> list[pl.DataFrame]:
    """Return frames of con_id and the fields of one table; the daily bars also say who is there at all."""
    own = [name for name in names if name.startswith(f"{table.name}.")]
    columns = [name.partition(".")[2] for name in own]
    is_daily = table is CURATED_TWS_1D_BARS
    computed = [name for name in names if is_daily and name.startswith(f"{METRICS}.")]
    if not own and not is_daily:
        return []
    order = "ts" if "ts" in table.schema else "session"
    rows = store.read(table, Partition(session), None if computed else list(dict.fromkeys(["con_id", order, *columns])))
    last = rows.sort("con_id", order).unique("con_id", keep="last", maintain_order=True)
    current = last.filter(pl.col("session") == session) if is_daily else last
    frames = [current.select("con_id", *(pl.col(name).alias(full) for name, full in zip(columns, own, strict=True)))]
    if computed:
        numbers = metrics(rows, session, ALL_HISTORY)
        frames.append(numbers.select("con_id", *(pl.col(name.partition(".")[2]).alias(name) for name in computed)))
    return frames


@dataclass(frozen=True, slots=True)
class Screened:
    """What a screen found, best first, and how many it turned down."""

    found: pl.DataFrame
    """con_id, rank, score."""
    n_judged: int
    n_passed: int


def apply(scanner: Scanner, gathered: Gathered) -> Screened:
    """Return the instruments that pass every condition of a screen, ranked and cut at its limit."""
    broken = judge(gathered.frame, scanner.conditions())
    passed = gathered.frame.join(broken.filter(pl.col("broken") == ""), on="con_id", how="semi")
    if scanner.rank:
        found = ranked(passed, scanner.rank.by, scanner.limit, descending=scanner.rank.descending)
    else:
        found = ranked(passed, "con_id", scanner.limit, descending=False)
    return Screened(found, gathered.frame.height, passed.height)


def load_screens(work: Work, profile: Profile) -> dict[str, Scanner]:
    """Return the screens that a profile's candidates pass, by name.

    Raises:
        UnknownNameError, ConfigurationError: see `load_scanner`; or a scanner is not one over the lakehouse.
    """
    screens = {name: load_scanner(work.settings.configs, name).scanner for name in profile.selection.screens}
    for name, scanner in screens.items():
        if scanner.is_live:
            raise ConfigurationError(
                f"{work.settings.manifest_file}, key 'selection.screens'",
                f"scanner {name!r} asks {scanner.source}, and candidates are screened over the lakehouse.",
                "Put it into discovery.scanners, or name a scanner whose source is lakehouse.",
            )
    return screens


def required_tables(profile: Profile, screens: Iterable[Scanner]) -> list[Table]:
    """Return the feature tables that a profile and its screens stand on, beside the daily bars.

    Raises:
        UnknownNameError: the profile names no table of features.
    """
    features = {group.table.name: group.table for group in GROUPS.values()}
    for name in profile.features.groups:
        if name not in features:
            raise UnknownNameError("feature group table", name, features)
    read = {table.name for one in screens for table in tables_of([c.field for c in one.conditions()])}
    return [table for name, table in sorted(features.items()) if name in {*profile.features.groups, *read}]


def require_published(work: Work, tables: Iterable[Table], session: date) -> None:
    """Refuse to judge a session whose features are not there.

    Raises:
        NotPublishedError: names the first table that is missing.
    """
    for table in tables:
        if not work.lake.curated.exists(table, Partition(session)):
            raise NotPublishedError(table.name, str(session), f"Run `quant flow data --session {session}`.")
