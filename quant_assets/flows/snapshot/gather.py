"""What a snapshot needs from the lakehouse, or everything that is missing and how it is mended."""

from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from quant_assets.domain.bias import bias_meter
from quant_assets.domain.breaks import on_one_basis
from quant_assets.domain.certificates import Certificate, judged
from quant_assets.domain.instruments import valid_at
from quant_assets.domain.limits import Limits, degraded_of
from quant_assets.domain.run_files import bars_file
from quant_assets.domain.tables import CANDIDATES, CERTIFIED_SESSIONS, CURATED_TWS_1D_BARS, INSTRUMENTS, Table
from quant_assets.errors import SnapshotIncompleteError
from quant_assets.flows.limits import beyond_today, ways_out
from quant_assets.flows.reader import Reader
from quant_assets.lakehouse.content import content_id
from quant_assets.lakehouse.footer import Footer
from quant_assets.lakehouse.layout import Partition
from quant_assets.settings.manifest import Profile

BAR_COLUMNS = ("timestamp", "open", "high", "low", "close", "adj_close", "volume")
"""Columns of a frozen instrument; `timestamp` is midnight UTC of the session date, in seconds."""

_Missing = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be frozen."""

    session: date
    profile_name: str
    profile: Profile
    window: tuple[date, ...]
    base_currency: str
    limits: Limits | None = None
    """Limits of today that the session's certificate has to keep; None asks for none."""

    @property
    def mend(self) -> str:
        """The command that brings what is missing."""
        return f"quant flow data --session {self.session}"

    @property
    def rebuild(self) -> str:
        """The command that computes again what is damaged."""
        return f"quant lake rebuild --sessions {self.session}"

    @property
    def partitions(self) -> tuple[tuple[Table, Partition], ...]:
        """The partitions that are read."""
        return (
            (CANDIDATES, Partition(self.session, self.profile_name)),
            (CURATED_TWS_1D_BARS, Partition(self.session)),
            (INSTRUMENTS, Partition(self.session)),
        )


@dataclass(frozen=True, slots=True)
class Gathered:
    """Candidates and bars as read, and each accepted instrument described."""

    candidates: pl.DataFrame
    bars: pl.DataFrame
    footers: dict[str, Footer]
    instruments: list[dict[str, Any]]
    stale: tuple[str, ...]
    tolerated: tuple[str, ...]
    """What `stale_policy` let pass: short and stale histories."""
    certificate_id: str
    """The session's certificate, which covers what is frozen."""
    degraded: tuple[str, ...]
    """Frozen instruments that the certificate names as degraded, with the minutes that they lost."""
    bias: dict[str, Any]
    """What of the universe was never there to be judged; see `bias_meter`."""


def gather(store: Reader, request: Request) -> Gathered:
    """Read everything that a run needs.

    Raises:
        SnapshotIncompleteError: lists everything that is missing, too short, stale or altered.
    """
    footers, frames = _read(store, request)
    accepted = frames["candidates"].filter(pl.col("verdict") == "accepted").sort("rank")
    is_frozen = pl.col("session").is_in(list(request.window)), pl.col("con_id").is_in(accepted["con_id"].to_list())
    bars = on_one_basis(frames["curated_tws_1d_bars"]).filter(*is_frozen).sort("con_id", "session")
    instruments = _instruments(accepted, bars, frames["instruments"], request.session)
    certificate = _certificate(store, request, footers)
    if missing := [
        *_uncertified(store, certificate, request),
        *_altered(frames, footers, request),
        *_unfit(instruments, request),
    ]:
        raise SnapshotIncompleteError(request.session, request.profile_name, missing)
    return Gathered(
        candidates=frames["candidates"],
        bars=bars,
        footers=footers,
        instruments=instruments,
        stale=tuple(one["symbol"] for one in instruments if one["last_session"] != request.session.isoformat()),
        tolerated=tuple(text for one in instruments for text in _weaknesses(one, request)),
        certificate_id=certificate.certificate_id,
        degraded=tuple(degraded_of(certificate.degraded, {one["symbol"].partition(":")[2] for one in instruments})),
        bias=bias_meter(frames["curated_tws_1d_bars"], frames["candidates"], request.window),
    )


def _certificate(store: Reader, request: Request, footers: dict[str, Footer]) -> Certificate:
    """Return the session's certificate, held against what is to be frozen: candidates are of the alpha side."""
    at = Partition(request.session)
    if store.footer(CERTIFIED_SESSIONS, at) is None:
        return Certificate(request.session, "none")
    covered = [table.name for table, _ in request.partitions if table is not CANDIDATES]
    standing = {name: footers[name].content_id for name in covered if name in footers}
    return judged(request.session, store.read(CERTIFIED_SESSIONS, at), standing)


def _uncertified(store: Reader, certificate: Certificate, request: Request) -> _Missing:
    """Name what keeps the certificate from covering the snapshot; running the cycle again mends no broken limit."""
    if request.limits and (problems := beyond_today(store, request.session, request.limits)):
        what = "is not certified" if certificate.state == "none" else "does not keep today's limits"
        ways = ways_out(request.session, problems).replace("`", "")
        return [(f"session {request.session} {what}: {'; '.join(problems.values())}", ways)]
    if certificate.state == "none":
        return [(f"session {request.session} is not certified", request.mend)]
    return [
        (f"{name}[{request.session}] is not what certificate {certificate.certificate_id[:12]} covers", request.mend)
        for name in certificate.changed
    ]


def _footers(store: Reader, request: Request) -> dict[str, Footer]:
    standing = {table.name: store.footer(table, partition) for table, partition in request.partitions}
    footers = {name: footer for name, footer in standing.items() if footer}
    missing = [
        (f"{table.name}[{partition.key}] is not published", request.mend)
        for table, partition in request.partitions
        if table.name not in footers
    ]
    if missing:
        missing += _uncertified(store, _certificate(store, request, footers), request)
        raise SnapshotIncompleteError(request.session, request.profile_name, missing)
    return footers


def _read(store: Reader, request: Request) -> tuple[dict[str, Footer], dict[str, pl.DataFrame]]:
    """Return footers and rows of one state: what another process publishes meanwhile is read again."""
    before = _footers(store, request)
    while True:
        frames = {table.name: store.read(table, partition) for table, partition in request.partitions}
        after = _footers(store, request)
        if _contents(before) == _contents(after):
            return after, frames
        before = after


def _contents(footers: dict[str, Footer]) -> dict[str, str]:
    return {name: footer.content_id for name, footer in footers.items()}


def _altered(frames: dict[str, pl.DataFrame], footers: dict[str, Footer], request: Request) -> _Missing:
    """Name tables whose rows are not what their footer says."""
    return [
        (f"{table.name}[{partition.key}] does not hold the content that its footer names", request.rebuild)
        for table, partition in request.partitions
        if content_id(frames[table.name], table.content_columns, table.key) != footers[table.name].content_id
    ]


def _instruments(
    accepted: pl.DataFrame, bars: pl.DataFrame, details: pl.DataFrame, session: date
) -> list[dict[str, Any]]:
    """Describe each accepted instrument: who it is, in which file it goes, and how much of it there is."""
    known = {row["con_id"]: row for row in valid_at(details, session).iter_rows(named=True)}
    history = {con_id: frame for (con_id,), frame in bars.partition_by("con_id", as_dict=True).items()}
    names = Counter(_stem(symbol) for symbol in accepted["symbol"])
    described = []
    for con_id, symbol in accepted.select("con_id", "symbol").iter_rows():
        stem = _stem(symbol) if names[_stem(symbol)] == 1 else f"{_stem(symbol)}_{con_id}"
        one = known.get(con_id, {})
        described.append(
            {
                "con_id": con_id,
                "symbol": symbol,
                "file": bars_file(stem),
                "sector": one.get("industry"),
                "long_name": one.get("long_name"),
                "currency": one.get("currency"),
                **_history(history.get(con_id, bars.clear())),
            }
        )
    return described


def _history(bars: pl.DataFrame) -> dict[str, Any]:
    observed = bool((bars["known_basis"] == "observed").all())
    sessions = bars["session"]
    return {
        "n_sessions": bars.height,
        "first_session": str(sessions.min()) if bars.height else None,
        "last_session": str(sessions.max()) if bars.height else None,
        "n_warnings": bars.filter(pl.col("dq_status") != "ok").height,
        "known_basis": "observed" if observed else "assumed",
        "content_id": content_id(frozen(bars), BAR_COLUMNS, ("timestamp",)),
    }


def _stem(symbol: str) -> str:
    return symbol.replace(":", "_").replace(" ", "-")


def _unfit(instruments: list[dict[str, Any]], request: Request) -> _Missing:
    """Name every accepted instrument that cannot be frozen."""
    if not instruments:
        return [(f"candidates[{request.profile_name}|{request.session}] accepted nobody", request.mend)]
    return [problem for one in instruments for problem in _problems(one, request)] + _foreign(instruments, request)


def _foreign(instruments: list[dict[str, Any]], request: Request) -> _Missing:
    """Name who is quoted in another currency: returns of two currencies do not add up, and nothing here converts."""
    base = request.base_currency
    foreign = [f"{_who(one)} in {one['currency']}" for one in instruments if one["currency"] not in (None, base)]
    if not foreign:
        return []
    mend = f"quant manifest show {request.profile_name}   (take them out of its lists, or set lakehouse.base_currency)"
    return [(f"not quoted in the base currency {base}, and nothing converts: {', '.join(foreign)}", mend)]


def _problems(one: dict[str, Any], request: Request) -> _Missing:
    who = _who(one)
    if not one["n_sessions"]:
        return [(f"{who} has no daily bars in the window", request.mend)]
    problems = []
    if one["long_name"] is None:
        problems.append((f"{who} has no contract details valid at {request.session}", request.mend))
    if request.profile.data.stale_policy == "fail":
        mend = f"{request.mend}   (or data.stale_policy warn in profile {request.profile_name})"
        problems += [(problem, mend) for problem in _weaknesses(one, request)]
    return problems


def _weaknesses(one: dict[str, Any], request: Request) -> list[str]:
    """Say where an instrument's history is short or stale: errors under `stale_policy` fail, on record otherwise."""
    who, floor = _who(one), request.profile.data.min_sessions_floor
    weaknesses = []
    if one["n_sessions"] < floor:
        weaknesses.append(f"{who} has {one['n_sessions']} of {floor} sessions")
    if one["last_session"] != request.session.isoformat():
        weaknesses.append(f"{who} is stale: its last bar is of {one['last_session']}")
    return weaknesses


def _who(one: dict[str, Any]) -> str:
    return f"{one['symbol']} (con_id {one['con_id']})"


def frozen(bars: pl.DataFrame) -> pl.DataFrame:
    """Return the bars of one instrument in the shape of a run's file."""
    seconds = pl.col("session").cast(pl.Datetime("ms")).dt.epoch("s").cast(pl.Int64).alias("timestamp")
    return bars.select(seconds, *BAR_COLUMNS[1:]).sort("timestamp")
