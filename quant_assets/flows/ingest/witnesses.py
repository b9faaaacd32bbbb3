"""Who else knows: the daily history, the minutes, TWS's schedule and first bars, and another connection."""

import logging
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta

import polars as pl

import quant_assets
from quant_assets.connectors.base import BarSource, Contract
from quant_assets.connectors.tws.patience import Witness
from quant_assets.connectors.tws.planner import Need, plan_minutes
from quant_assets.connectors.tws.retry import fetch_all
from quant_assets.domain.completeness import DAILY_VOLUMES, Beginning
from quant_assets.domain.instruments import PRIMARY_SERIES, minute_series
from quant_assets.domain.tables import RAW_TWS_BARS, RAW_TWS_DAILY_BARS, RAW_TWS_REQUESTS
from quant_assets.errors import QuantAssetsError, SourceUnavailableError
from quant_assets.flows.ingest.ledger import read_ledger
from quant_assets.flows.work import OpenSource, Work
from quant_assets.lakehouse.layout import Partition

_log = logging.getLogger(__name__)
_LATELY = 5
"""Sessions; a week holds as many."""
_AFTER_THE_CLOSE = timedelta(hours=1)


def daily_volumes(work: Work, sessions: Sequence[date]) -> pl.DataFrame:
    """Return `completeness.DAILY_VOLUMES` of some sessions, as the proved part of the daily history tells them.

    Looked at are the vintages of the sessions themselves and the newest one, which a backfill is cut from: it stands
    on the price basis of today, as 1-minute bars do that are fetched today.
    """
    raw, first = work.lake.raw, min(sessions, default=date.max)
    newest = (raw.newest(table) for table in (RAW_TWS_DAILY_BARS, RAW_TWS_REQUESTS))
    vintages = sorted({*sessions, *(one.session for one in newest if one and one.session >= first)})
    asked = read_ledger(work, vintages).filter(
        (pl.col("bar_size") == "1 day") & pl.col("what_to_show").is_in(PRIMARY_SERIES) & (pl.col("proof") != "")
    )
    if asked.is_empty():
        return pl.DataFrame(schema=DAILY_VOLUMES)
    days = pl.DataFrame({"session": sorted(sessions)}, schema={"session": pl.Date})
    covers = asked.select("con_id", "asked_from", pl.col("session").alias("vintage"))
    covered = (
        days.join_where(covers, pl.col("session") >= pl.col("asked_from"), pl.col("session") <= pl.col("vintage"))
        .select("session", "con_id")
        .unique()
    )
    found = pl.concat([_volumes_in(work, vintage, sessions) for vintage in vintages])
    last = found.sort("is_own", maintain_order=True).unique(["session", "con_id"], keep="last", maintain_order=True)
    known = covered.join(last, on=["session", "con_id"], how="left")
    volume = pl.when(pl.col("is_own").is_null()).then(0.0).otherwise("daily_volume")
    return known.with_columns(volume.alias("daily_volume")).select(DAILY_VOLUMES.names())


def _volumes_in(work: Work, vintage: date, sessions: Sequence[date]) -> pl.DataFrame:
    """Return the days with a bar; where only ADJUSTED_LAST has one it traded, and nobody says how much."""
    columns = ["session", "con_id", "what_to_show", "volume", "ingested_at"]
    rows = work.lake.raw.read(RAW_TWS_DAILY_BARS, Partition(vintage), columns)
    is_own = pl.col("what_to_show").is_in(PRIMARY_SERIES)
    days = rows.filter(pl.col("session").is_in(sorted(sessions))).sort("ingested_at")
    own_volume = pl.when(is_own).then("volume").alias("daily_volume")
    return days.select("session", "con_id", own_volume, is_own.alias("is_own"))


def minutes_traded(work: Work, first: date, last: date) -> pl.DataFrame:
    """Return session and con_id of whatever bronze holds 1-minute bars of, fillers without volume left out.

    Args:
        work: stores.
        first: first session to look at.
        last: last session to look at.
    """
    raw = work.lake.raw
    is_trade = pl.col("volume").is_null() | (pl.col("volume") > 0)
    found = [
        raw.read(RAW_TWS_BARS, Partition(session), ["session", "con_id", "volume"])
        .filter(is_trade)
        .select("session", "con_id")
        .unique()
        for session in raw.sessions(RAW_TWS_BARS)
        if first <= session <= last
    ]
    return pl.concat(found) if found else RAW_TWS_BARS.empty().select("session", "con_id")


async def beginning_of(source: BarSource, contract: Contract, vintage: date) -> Beginning | None:
    """Return what TWS says of an instrument's first bar up to a vintage; None when it does not tell.

    One answer serves all daily series: what is adjusted begins with what it is adjusted from.
    """
    series = minute_series(contract.sec_type, use_rth=True)
    try:
        head = await source.head_timestamp(contract, series.what_to_show, use_rth=series.use_rth)
    except QuantAssetsError as error:
        _log.warning("no head timestamp of %s, so nothing speaks for its silence: %s", contract, error)
        return None
    return Beginning(head.date() if head and head.date() <= vintage else None)


async def traded_since(
    work: Work, opened: OpenSource, contract: Contract, last: date, vintage: date
) -> frozenset[date] | None:
    """Return the sessions after one of which TWS has 1-minute bars; None when it does not tell.

    Looked at are the newest sessions that one request brings: an instrument that is said to have ended, and trades, has
    traded lately. Bars of other days are no answer, and neither is an empty one without words.

    Args:
        work: stores and calendars.
        opened: the source.
        contract: the instrument.
        last: the session with which its days end.
        vintage: the last session of the window.
    """
    calendar = work.calendar_for(contract)
    days = calendar.between(last + timedelta(days=1), vintage)[-_LATELY:]
    series = minute_series(contract.sec_type, use_rth=work.settings.manifest.lakehouse.use_rth)
    longest = work.settings.manifest.tws.max_minute_duration
    hours = {day: calendar.hours(day).row for day in days}
    needs = [Need(contract, day) for day in days]
    plan = plan_minutes(needs, hours, longest, what_to_show=series.what_to_show, use_rth=series.use_rth)[-1:]
    outcomes = [one async for one in fetch_all(opened.source, opened.pacer, plan, opened.policy)]
    answers = [one.answer for one in outcomes if one.answer]
    has_traded = pl.col("volume").is_null() | (pl.col("volume") > 0)
    dated = [one.bars.filter(has_traded).select(calendar.session_of(pl.col("ts"))) for one in answers]
    found = frozenset(pl.concat(dated)["session"].to_list()) & frozenset(days) if dated else frozenset()
    is_told = len(answers) == len(outcomes) and all(one.no_data_text and one.bars.is_empty() for one in answers)
    return found if found or is_told else None


def is_regular(contract: Contract) -> bool:
    """Return whether the sessions of an instrument are regular hours; those of a future begin on the evening before."""
    return minute_series(contract.sec_type, use_rth=True).use_rth


async def told_days(work: Work, source: BarSource, contract: Contract, days: Sequence[date]) -> dict[date, bool]:
    """Return whether, TWS says, the instrument's exchange opened on some days; what it does not tell is left out.

    No schedule is no answer, and neither is one that begins after the day: then the calendar stands.
    """
    calendar = work.calendar_for(contract)
    n_sessions = len(calendar.between(min(days), max(days))) + 1
    end = calendar.hours(max(days)).closes_at + _AFTER_THE_CLOSE
    try:
        told = await source.schedule(contract, end, n_sessions, use_rth=is_regular(contract))
    except QuantAssetsError as error:
        _log.warning("no schedule of %s, so the calendar stands: %s", contract, error)
        return {}
    opened = {hours.session for hours in told}
    return {day: day in opened for day in days if opened and min(opened) <= day}


def closed_rows(
    sessions: Iterable[tuple[Contract, date]], batch_id: str, now: datetime, *, use_rth: bool
) -> pl.DataFrame:
    """Return the ledger rows of instruments and sessions that TWS's schedule does not have."""
    rows = []
    for contract, day in sessions:
        series = minute_series(contract.sec_type, use_rth=use_rth)
        row = {
            "con_id": contract.con_id,
            "symbol": contract.symbol,
            "source": "TWS",
            "bar_size": "1 min",
            "what_to_show": series.what_to_show,
            "use_rth": series.use_rth,
            "session": day,
            "outcome": "closed",
            "proof": "schedule",
            "detail": "TWS's schedule has no session on this day",
            "n_rows": 0,
            "asked_from": day,
            "duration": "",
            "asked_at": now,
            "batch_id": batch_id,
            "request_id": f"{batch_id}-{contract.con_id}",
            "ingested_at": now,
            "pipeline_version": quant_assets.__version__,
        }
        rows.append(row)
    return RAW_TWS_REQUESTS.frame(rows)


async def renewed(source: BarSource) -> None:
    """Go on with another connection, as far as the source has such a thing: its answers are another witness's."""
    if not isinstance(source, Witness):
        return
    try:
        await source.renew(source.epoch)
    except SourceUnavailableError as error:
        _log.info("a new connection will be made by the next request: %s", error)
