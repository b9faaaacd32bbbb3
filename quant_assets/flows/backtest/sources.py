"""Where a backtest's history comes from: the lakehouse as of each session, or one file of daily bars."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from quant_assets.connectors.files import UNKNOWN_SECTOR, DailyFile, read_daily
from quant_assets.connectors.scanners import Scanner
from quant_assets.domain.backtest import Past, Prices, chained, cut, prices_of, without_returns
from quant_assets.domain.breaks import breaks_of
from quant_assets.domain.calendar import TradingCalendar
from quant_assets.domain.tables import CURATED_TWS_1D_BARS, INSTRUMENTS, UNIVERSE, Table
from quant_assets.errors import ChangingLakeError, SnapshotIncompleteError
from quant_assets.flows.screen import screened_by, screens_inputs
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.windows import Windows

_CARRY = 20
"""Sessions before the first one that are read, so that a price that is missing there has one before it."""


class History(Protocol):
    """What a backtest asks of a history."""

    @property
    def sessions(self) -> tuple[date, ...]:
        """All sessions, ascending."""
        ...

    def past(self, known: date, n_sessions: int | None) -> Past:
        """Return what is known after the close of a session: the last `n_sessions` sessions, or all of them."""
        ...

    def prices(self, first: date, last: date, decisions: Sequence[date]) -> Prices:
        """Return prices from a session to a later one; `decisions` are the sessions that something is known as of."""
        ...

    def described(self, decisions: Sequence[date], last: date) -> dict[str, Any]:
        """Return what the history is made of: label, tables with content ids, known_basis, is_pit, and remarks."""
        ...

    def symbols(self, decisions: Sequence[date]) -> dict[int, str]:
        """Return the symbols of everybody who was in a past."""
        ...


class FileHistory:
    """One file of daily bars: the same rows for every decision, cut off after its session.

    An instrument is a member from its first bar on. Whoever is in the file is there because somebody put it there
    later, so nothing of it is point in time.
    """

    def __init__(self, file: DailyFile, calendar: TradingCalendar, profile: str) -> None:
        days = file.bars["session"]
        known = calendar.between(days.min(), days.max())  # type: ignore[arg-type]
        self._file, self._profile, self._sessions = file, profile, tuple(known)
        self.n_off_calendar = file.bars.filter(~pl.col("session").is_in(known)).height
        self._bars = file.bars.filter(pl.col("session").is_in(known)).with_columns(known_basis=pl.lit("assumed"))

    @classmethod
    def read(cls, bars: Path, sectors: Path | None, calendar: TradingCalendar, profile: str) -> "FileHistory":
        """Read the files. Raises what `read_daily` raises."""
        return cls(read_daily(bars, sectors), calendar, profile)

    @property
    def has_sectors(self) -> bool:
        """Whether any instrument has a sector; without one all of them stand under one cap as `unknown`."""
        return bool((self._file.members["sector"] != UNKNOWN_SECTOR).any())

    @property
    def sessions(self) -> tuple[date, ...]:
        """The calendar's sessions from the first bar to the last."""
        return self._sessions

    def past(self, known: date, n_sessions: int | None) -> Past:
        """Return the rows up to a session."""
        all_known = tuple(day for day in self._sessions if day <= known)
        sessions = all_known[-n_sessions:] if n_sessions else all_known
        seen = self._bars.filter(pl.col("session") <= known)
        coverage = (pl.col("session") >= sessions[0]).sum().over("con_id") / len(sessions)
        members = self._file.members.join(seen.select("con_id").unique(), on="con_id", how="semi").sort("con_id")
        return Past(
            sessions=sessions,
            daily=_shaped(seen.with_columns(coverage=coverage, dq_status=pl.lit("ok")), CURATED_TWS_1D_BARS),
            universe=_shaped(
                members.select(
                    "con_id",
                    "symbol",
                    pl.lit("FILE").alias("exchange"),
                    pl.lit("STK").alias("asset_class"),
                    pl.lit(self._profile).alias("profiles"),
                    pl.lit("file").alias("sources"),
                    pl.lit(value=False).alias("is_pit"),
                ),
                UNIVERSE,
            ),
            instruments=_shaped(
                members.select(
                    "con_id",
                    pl.lit("FILE").alias("primary_exchange"),
                    pl.col("sector").alias("industry"),
                    pl.lit(self._sessions[0]).alias("valid_from"),
                    pl.lit(None, dtype=pl.Date).alias("valid_until"),
                ),
                INSTRUMENTS,
            ),
        )

    def prices(self, first: date, last: date, decisions: Sequence[date]) -> Prices:
        """Return prices on the one price basis of the file."""
        _ = decisions
        return cut(prices_of(self._bars, [day for day in self._sessions if day <= last]), first, last)

    def described(self, decisions: Sequence[date], last: date) -> dict[str, Any]:
        """Return the digests of the files, and how many rows of each are used: bars, and sectors of instruments."""
        _ = decisions, last
        reasons = self._file.rejected["reason"].value_counts().sort("reason").rows()
        used = (self._bars.height, self._file.members.filter(pl.col("sector") != UNKNOWN_SECTOR).height)
        return {
            "label": "file " + ", ".join(self._file.digests),
            "tables": {
                name: {"partition": "file", "content_id": digest, "n_rows": n_rows}
                for (name, digest), n_rows in zip(self._file.digests.items(), used, strict=False)
            },
            "known_basis": "assumed",
            "is_pit": False,
            "rejected": dict(reasons),
            "off_calendar": self.n_off_calendar,
        }

    def symbols(self, decisions: Sequence[date]) -> dict[int, str]:
        """Return the symbols of the file."""
        _ = decisions
        return dict(self._file.members.select("con_id", "symbol").iter_rows())


def _shaped(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Return a frame with every column of a table; what a file cannot know is null."""
    missing = {name: dtype for name, dtype in table.schema.items() if name not in frame.columns}
    return frame.with_columns(pl.lit(None, dtype=dtype).alias(name) for name, dtype in missing.items())


@dataclass(frozen=True)
class LakeHistory:
    """The lakehouse: each decision reads what was published as of its own session."""

    work: Work
    n_sessions: int
    """The longest window that a decision looks at."""
    last: date
    screens: Mapping[str, Scanner] = field(default_factory=dict)
    """The profile's own screens, by name."""
    _between: dict[date, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Sessions between decisions whose daily windows prices were taken from, and the content that was read."""

    @cached_property
    def sessions(self) -> tuple[date, ...]:
        """The calendar's sessions that daily windows can reach."""
        published = [one.session for one in self.work.lake.curated.partitions(CURATED_TWS_1D_BARS)]
        first = min([*published, self.last])
        calendar = self.work.calendar
        return tuple(dict.fromkeys([*calendar.window(first, self.n_sessions), *calendar.between(first, self.last)]))

    def past(self, known: date, n_sessions: int | None) -> Past:
        """Return the published rows as of a session."""
        at, lake = Partition(known), self.work.lake.curated
        sessions = tuple(self.work.calendar.window(known, n_sessions or self.n_sessions))
        daily, universe = lake.read(CURATED_TWS_1D_BARS, at), lake.read(UNIVERSE, at)
        screened, _ = screened_by(lake, known, self.screens)
        base = self.work.settings.manifest.lakehouse.base_currency
        return Past(sessions, daily, universe, lake.read(INSTRUMENTS, at), screened=screened, base_currency=base)

    def require(self, decisions: Sequence[date], last: date, profile: str) -> None:
        """Prove that everything is published.

        Raises:
            SnapshotIncompleteError: lists every missing partition with its mend.
        """
        wanted = [(table, day) for day in decisions for table in (UNIVERSE, INSTRUMENTS, CURATED_TWS_1D_BARS)]
        wanted.append((CURATED_TWS_1D_BARS, last))
        missing = [
            (f"{table.name}[{day}] is not published", f"quant flow data --session {day}")
            for table, day in wanted
            if self.work.lake.curated.footer(table, Partition(day)) is None
        ]
        if missing:
            raise SnapshotIncompleteError(last, profile, missing)

    def prices(self, first: date, last: date, decisions: Sequence[date]) -> Prices:
        """Return prices in stretches: each return is taken inside the oldest window that holds it.

        Windows as of different sessions may stand on different price bases; a return inside one of them is right. What
        could be bought at the stretch's begin and left the universe within it is priced by its own last window: else
        what it lost before it left would be no loss.
        """
        ends = [*sorted(day for day in set(decisions) if first <= day < last), last]
        parts, start = [], first
        held = set(self._window(min(decisions), ["con_id"])["con_id"])
        for end in ends:
            sessions = self.work.calendar.between(start, end)
            before = self.work.calendar.window(start, _CARRY)
            newest = self._window(end)
            remaining = set(newest["con_id"])
            daily = pl.concat([newest, *self._departed(held - remaining, sessions)])
            held = remaining
            laid = without_returns(prices_of(daily, sorted({*before, *sessions})), breaks_of(daily))
            parts.append(cut(laid, start, end))
            following = self.work.calendar.following(end)
            start = following if following is not None else end
        return chained(parts)

    def _window(self, session: date, columns: Sequence[str] | None = None) -> pl.DataFrame:
        return self.work.lake.curated.read(CURATED_TWS_1D_BARS, Partition(session), columns)

    def _departed(self, con_ids: set[int], sessions: Sequence[date]) -> list[pl.DataFrame]:
        """Return rows of instruments from the last window of some sessions that holds them; the newest holds none."""
        if not con_ids or len(sessions) == 1:
            return []
        store, found = self.work.lake.curated, []
        for day, rows in Windows.read(store, sorted(con_ids), sessions).rows.items():
            window, footer = store.read_standing(CURATED_TWS_1D_BARS, Partition(day))
            self._between[day] = footer.content_id
            found.append(window.join(rows.select("con_id").unique(), on="con_id", how="semi"))
        return found

    def described(self, decisions: Sequence[date], last: date) -> dict[str, Any]:
        """Return the content id of every partition that is read; of windows between decisions, those that were.

        Raises:
            ChangingLakeError: such a window is another one by now.
        """
        lake = self.work.lake.curated
        read = [(table, day) for day in decisions for table in (CURATED_TWS_1D_BARS, INSTRUMENTS, UNIVERSE)]
        footers = {(table.name, day): lake.footer(table, Partition(day)) for table, day in read}
        for day in (*self._between, last):
            footers[CURATED_TWS_1D_BARS.name, day] = lake.footer(CURATED_TWS_1D_BARS, Partition(day))
        stands = {day: footers[CURATED_TWS_1D_BARS.name, day] for day in sorted(self._between)}
        if changed := [day for day, one in stands.items() if not one or one.content_id != self._between[day]]:
            raise ChangingLakeError([f"{CURATED_TWS_1D_BARS.name}[{day}]" for day in changed])
        observed = all(self._all_of(CURATED_TWS_1D_BARS, day, pl.col("known_basis") == "observed") for day in decisions)
        is_pit = observed and all(self._all_of(UNIVERSE, day, pl.col("is_pit")) for day in decisions)
        screens = [screens_inputs(lake, day, self.screens) for day in decisions]
        return {
            "label": self.work.source_label,
            "tables": {
                f"{name}[{day}]": {"partition": str(day), "content_id": one.content_id, "n_rows": one.n_rows}
                for (name, day), one in sorted(footers.items())
                if one is not None
            }
            | {
                name: {"partition": name.partition("|")[2], "content_id": told, "n_rows": 0}
                for one in screens
                for name, told in one.items()
            },
            "known_basis": "observed" if observed else "assumed",
            "is_pit": is_pit,
            "rejected": {},
            "off_calendar": 0,
        }

    def _all_of(self, table: Table, day: date, holds: pl.Expr) -> bool:
        """Return whether something holds of every row of a partition; only the columns that it names are read."""
        rows = self.work.lake.curated.read(table, Partition(day), holds.meta.root_names())
        return bool(rows.select(holds.all()).item())

    def symbols(self, decisions: Sequence[date]) -> dict[int, str]:
        """Return the symbols of the universes, the newest name of each instrument."""
        lake, named = self.work.lake.curated, ["con_id", "symbol"]
        frames = [lake.read(UNIVERSE, Partition(day), named) for day in sorted(set(decisions))]
        return dict(pl.concat(frames).unique("con_id", keep="last", maintain_order=True).iter_rows())
