"""Publishing `adjustment_factors`: what changed the price basis between a session and the one before it."""

from datetime import date, timedelta

import polars as pl

from quant_assets.domain import adjustments
from quant_assets.domain.bars import daily_window, newest_answers, session_prices
from quant_assets.domain.breaks import UNEXPLAINED_BREAK
from quant_assets.domain.hours import is_open
from quant_assets.domain.tables import ADJUSTMENT_FACTORS, RAW_TWS_BARS, RAW_TWS_DAILY_BARS, UNIVERSE
from quant_assets.errors import NotPublishedError
from quant_assets.flows.breaks import jumps_id, with_max_jump
from quant_assets.flows.confirming import as_input, heard, real_moves
from quant_assets.flows.hours import told_hours
from quant_assets.flows.ingest.vintages import vintages_near
from quant_assets.flows.publishing import MAKE_INPUTS, Finding, Published, publish_frame, unchanged
from quant_assets.flows.returning import answered_in, telling_of
from quant_assets.flows.vintages import Vintages
from quant_assets.flows.work import Work
from quant_assets.lakehouse.content import combined_id
from quant_assets.lakehouse.layout import Partition

EXPLAINED = "every_change_explained"

_MINUTE_COLUMNS = (
    "con_id", "session", "ts", "open", "high", "low", "close", "ingested_at", "request_id", "answer_row",
)  # fmt: skip


class Adjuster:
    """Finds the factors of the sessions of one run; vintages that several sessions share are read once."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._vintages = Vintages(work)

    def publish(self, session: date) -> Published:
        """Publish `adjustment_factors` as of a session.

        Raises:
            NotPublishedError: the raw bars or the universe of the session are missing.
        """
        work, partition = self._work, Partition(session)
        before = work.calendar.previous(session)
        near, told = self._near(session, before), telling_of(work, session)
        further = sorted(set(told["vintage"]) - set(near))
        inputs = self._inputs(session, before, [*near, *further])
        if standing := unchanged(work, ADJUSTMENT_FACTORS, partition, inputs):
            return standing
        if not work.lake.raw.batches(RAW_TWS_BARS, partition) and not near:
            raise NotPublishedError("raw_tws_bars, raw_tws_daily_bars", partition.key, MAKE_INPUTS)
        frame = self._detect(session, before, near, told)
        return publish_frame(
            work,
            ADJUSTMENT_FACTORS,
            partition,
            frame,
            inputs=inputs,
            watermark=self._watermark(session, near),
            findings=[_explained(frame)],
            metadata=dict(frame.filter(pl.col("kind") != "none").group_by("kind").len().sort("kind").iter_rows()),
        )

    def _detect(self, session: date, before: date | None, near: list[date], told: pl.DataFrame) -> pl.DataFrame:
        """Return the factors of members, of whom an answer was given as of the session, and of whom a later one tells.

        Of all others no answer of before can be compared, and there is nothing to say.
        """
        work = self._work
        members = work.lake.curated.read(UNIVERSE, Partition(session))
        window = work.calendar.window(session, _reach(work))
        vintages = self._rows(near, window[0], told)
        concerned = pl.concat([members["con_id"], answered_in(work, session)["con_id"], told["con_id"]]).unique()
        vintages = vintages.filter(pl.col("con_id").is_in(concerned.implode()))
        now = daily_window(vintages, session, window)
        then = daily_window(vintages, before, window[:-1]) if before and window[:-1] else now.clear()
        everyone = pl.concat([members.select("con_id", "symbol"), now.select("con_id", "symbol")]).unique(
            "con_id", keep="first"
        )
        minutes = [self._minutes(session, members)]
        if before and not everyone.join(then, on="con_id", how="anti").is_empty():
            minutes.append(self._minutes(before, members))
        bounded = with_max_jump(work, everyone.join(members.select("con_id", "asset_class"), on="con_id", how="left"))
        moves = real_moves(work, [session])
        return adjustments.detect(session, before, bounded, now, then, pl.concat(minutes), moves)

    def _minutes(self, session: date, members: pl.DataFrame) -> pl.DataFrame:
        """Return the day's prices as the minutes that speak for a session give them, in each instrument's own hours."""
        raw = self._work.lake.raw.read(RAW_TWS_BARS, Partition(session), _MINUTE_COLUMNS)
        timed = raw.join(self._work.hours_of(session, members), on="con_id")
        return session_prices(newest_answers(timed.filter(is_open()).select(raw.columns)))

    def _rows(self, near: list[date], start: date, told: pl.DataFrame) -> pl.DataFrame:
        """Return the vintages' rows from a session on; those of a margin before it tell how far a window reaches.

        Of vintages that are not near only what they tell of who returns with them.
        """
        further = sorted(set(told["vintage"]) - set(near))
        rows = self._vintages.read([*near, *further], start - timedelta(days=7))
        if not further:
            return rows
        is_near = pl.col("vintage").is_in(near)
        return pl.concat([rows.filter(is_near), rows.filter(~is_near).join(told, on=["con_id", "vintage"], how="semi")])

    def _near(self, session: date, before: date | None) -> list[date]:
        days = [session] if before is None else [before, session]
        return sorted({vintage for day in days for vintage in vintages_near(self._work, day)})

    def _inputs(self, session: date, before: date | None, near: list[date]) -> dict[str, str]:
        raw = self._work.lake.raw
        members = self._work.lake.curated.footer(UNIVERSE, Partition(session))
        return {
            **as_input(self._work, [session]),
            **told_hours(self._work, ADJUSTMENT_FACTORS.name, session),
            "raw_tws_bars": raw.input_id(RAW_TWS_BARS, Partition(session)),
            "raw_tws_bars_before": raw.input_id(RAW_TWS_BARS, Partition(before)) if before else "",
            "raw_tws_daily_bars": combined_id(raw.input_id(RAW_TWS_DAILY_BARS, Partition(one)) for one in near),
            "universe": members.content_id if members else "",
            "max_jump": jumps_id(self._work),
            "transform": adjustments.VERSION,
        }

    def _watermark(self, session: date, near: list[date]) -> str:
        raw = self._work.lake.raw
        marks = [raw.watermark(RAW_TWS_BARS, Partition(session)), heard(self._work, [session])]
        if near and (newest := raw.newest(RAW_TWS_DAILY_BARS)):
            marks.append(raw.watermark(RAW_TWS_DAILY_BARS, newest))
        return max(marks)


def _reach(work: Work) -> int:
    """Return how many sessions a window has to hold; none beyond those that a full answer was asked for.

    A later answer reaches back further than one of the time, and would be taken in its place for what lies beyond.
    """
    return max(adjustments.OVERLAP + 1, min(adjustments.REACH, work.settings.manifest.max_lookback_sessions))


def _explained(frame: pl.DataFrame) -> Finding:
    odd = frame.filter(pl.col("kind").is_in(["unexplained", UNEXPLAINED_BREAK])).sort("symbol", "session")
    told = "; ".join(f"{symbol}: {evidence}" for symbol, evidence in odd.select("symbol", "evidence").head(5).rows())
    return Finding(
        EXPLAINED, odd.is_empty(), f"{odd.height} changes of price that are no split: {told}", blocking=False
    )
