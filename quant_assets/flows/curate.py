"""From bronze to silver, one session at a time: read, call the domain, publish what passes."""

import hashlib
from collections.abc import Mapping
from datetime import date
from functools import cached_property

import polars as pl

import quant_assets
from quant_assets.domain import instruments as instruments_domain
from quant_assets.domain import quality
from quant_assets.domain.accounting import coverage, unexplained_share
from quant_assets.domain.bars import daily_window
from quant_assets.domain.hours import HOURS
from quant_assets.domain.limits import Limits
from quant_assets.domain.tables import (
    ADJUSTMENT_FACTORS,
    BAR_ACCOUNTING,
    CURATED_TWS_1D_BARS,
    CURATED_TWS_1M_BARS,
    DQ_METRICS,
    QUARANTINE_TWS_BARS,
    RAW_TWS_BARS,
    RAW_TWS_DAILY_BARS,
    RAW_TWS_REQUESTS,
    UNIVERSE,
)
from quant_assets.domain.toxic import REAL_MOVE
from quant_assets.errors import NotPublishedError
from quant_assets.flows.accounting import ACCOUNTING_VERSION, accounted, accounting_findings, expected_days
from quant_assets.flows.breaks import jumps_id, with_max_jump
from quant_assets.flows.confirming import as_input, heard, real_moves
from quant_assets.flows.hours import told_hours
from quant_assets.flows.ingest.ledger import read_ledger, settled, throttle_of
from quant_assets.flows.ingest.vintages import vintages_near
from quant_assets.flows.overriding import overrides_of
from quant_assets.flows.publishing import MAKE_INPUTS, Finding, Published, publish_frame, unchanged
from quant_assets.flows.vintages import Vintages
from quant_assets.flows.work import Work
from quant_assets.lakehouse.content import combined_id
from quant_assets.lakehouse.layout import Partition

_ACCOUNTED = "accounted"
DAILY_VERSION = "3"
_MADE_TOGETHER = (CURATED_TWS_1M_BARS, QUARANTINE_TWS_BARS, BAR_ACCOUNTING, DQ_METRICS)
_PLAIN = "no ADJUSTED_LAST on the basis of the trades, so that adj_close is the close"
_USUAL_SESSIONS = 20
"""How many sessions before tell what volume is usual."""


def universe_of(work: Work, session: date) -> pl.DataFrame:
    """Return the universe of a session.

    Raises:
        NotPublishedError: it is missing.
    """
    return work.lake.curated.read(UNIVERSE, Partition(session))


def unsettled(work: Work, session: date) -> pl.DataFrame:
    """Return the universe's instruments whose 1-minute bars of a session have no outcome to rely on.

    Nothing is asked about an instrument whose exchange is closed that day, so nothing of it can be open.
    """
    members = universe_of(work, session)
    trading = members.join(work.hours_of(session, members), on="con_id", how="semi")
    ledger = read_ledger(work, [session]).filter(pl.col("bar_size") == "1 min")
    done = settled(ledger, work.clock.now(), throttle_of(work))
    return trading.join(done, on="con_id", how="anti").select("con_id", "symbol")


class Curator:
    """Curates sessions of one run; what several sessions share is read once."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._vintages = Vintages(work)

    # ------------------------------------------------------------ 1-minute bars

    def minute_bars(self, session: date) -> tuple[Published, ...]:
        """Publish `curated_tws_1m_bars`, `quarantine_tws_bars`, `bar_accounting` and `dq_metrics`, in one pass.

        Raises:
            NotPublishedError: the raw bars or the universe of the session are missing.
        """
        work, partition = self._work, Partition(session)
        missing = unsettled(work, session)
        if not missing.is_empty():
            names = ", ".join(missing["symbol"].head(5).to_list())
            raise NotPublishedError(
                "raw_tws_bars", partition.key, f"{missing.height} instruments are open ({names} …): {MAKE_INPUTS}"
            )
        inputs = self._minute_inputs(session)
        standing = [unchanged(work, table, partition, inputs) for table in _MADE_TOGETHER]
        found = tuple(one for one in standing if one is not None)
        return found if len(found) == len(_MADE_TOGETHER) else self._curate(session, inputs)

    def _minute_inputs(self, session: date) -> dict[str, str]:
        work, partition = self._work, Partition(session)
        lake = work.lake
        members = lake.curated.footer(UNIVERSE, partition)
        factors = lake.curated.footer(ADJUSTMENT_FACTORS, partition)
        return {
            **told_hours(work, CURATED_TWS_1M_BARS.name, session),
            "adjustment_factors": factors.content_id if factors else "",
            "raw_tws_bars": lake.raw.input_id(RAW_TWS_BARS, partition),
            "raw_tws_requests": lake.raw.input_id(RAW_TWS_REQUESTS, partition),
            "accounting": ACCOUNTING_VERSION,
            "raw_tws_daily_bars": self._vintages_id(session),
            "universe": members.content_id if members else "",
            "transform": quality.TRANSFORM_VERSION,
            "quality": self._quality_id,
            "overrides": work.words.id_of(session),
            **Limits.of(work.settings.manifest.lakehouse).as_inputs(),
        }

    @cached_property
    def _quality_id(self) -> str:
        """Return an id of the configured rules: other severities or thresholds divide the rows otherwise."""
        said = self._work.settings.manifest.quality.model_dump_json()
        return hashlib.sha256(said.encode()).hexdigest()

    def _curate(self, session: date, inputs: Mapping[str, str]) -> tuple[Published, ...]:
        work, partition = self._work, Partition(session)
        raw = work.lake.raw.read(RAW_TWS_BARS, partition)
        members = universe_of(work, session)
        day_bars = self._day_bars(session)
        divided = quality.curate_minutes(
            raw,
            session,
            self._hours(session, members, raw),
            day_bars,
            config=work.settings.manifest.quality,
            overrides=overrides_of(work, session),
        )
        vintages = self._vintages_of(session)
        minutes = accounted(work, session, members, divided.valid, divided.quarantine, day_bars, vintages)
        covered = coverage(minutes)
        findings = [_balance(raw, divided), *accounting_findings(work, minutes, members)]
        heard = work.lake.raw.watermark(RAW_TWS_BARS, partition), work.words.watermark(session)
        watermark = max(*heard, self._newest_vintage())
        rejected = publish_frame(
            work, QUARANTINE_TWS_BARS, partition, divided.quarantine, inputs=inputs, watermark=watermark
        )
        published = publish_frame(
            work, CURATED_TWS_1M_BARS, partition, divided.valid, inputs=inputs, watermark=watermark, findings=findings
        )
        account = publish_frame(work, BAR_ACCOUNTING, partition, minutes, inputs=inputs, watermark=watermark)
        by_rule = quality.rule_counts(divided.quarantine)
        measured = self._metrics(session, divided, covered, unexplained_share(minutes))
        measures = publish_frame(
            work, DQ_METRICS, partition, measured, inputs=inputs, watermark=watermark, findings=_said(measured, members)
        )
        return (
            published.with_metadata(
                coverage=round(covered.select(pl.col("coverage").mean()).item() or 0.0, 4),
                reordered_rows=divided.n_reordered,
                superseded_rows=divided.n_superseded,
                rescaled_rows=divided.n_rescaled,
            ),
            rejected.with_metadata(**{f"rule_{rule}": n for rule, n in by_rule.items()}),
            account,
            measures,
        )

    def _metrics(
        self, session: date, divided: quality.Curation, covered: pl.DataFrame, unexplained: float
    ) -> pl.DataFrame:
        manifest = self._work.settings.manifest
        share = unexplained, manifest.lakehouse.max_unexplained
        measured = quality.session_metrics(divided, covered, session, manifest.quality.metrics, unexplained=share)
        now = pl.lit(self._work.clock.now()).cast(DQ_METRICS.schema["recorded_at"])
        return measured.with_columns(
            pl.lit(quant_assets.__version__).alias("pipeline_version"), now.alias("recorded_at")
        )

    def _hours(self, session: date, members: pl.DataFrame, raw: pl.DataFrame) -> pl.DataFrame:
        """Return each instrument's hours, symbol and asset class; one that left the universe keeps the session's."""
        work = self._work
        labels = members.select("con_id", "symbol", "asset_class")
        own = work.hours_of(session, members).join(labels, on="con_id", how="left", maintain_order="left")
        others = raw.select("con_id").unique().join(members, on="con_id", how="anti")
        if others.is_empty():
            return own
        whole = zip(HOURS.items(), work.calendar.hours(session).row, strict=True)
        added = others.with_columns(pl.lit(value, dtype=dtype).alias(name) for (name, dtype), value in whole)
        return pl.concat([own, added], how="diagonal")

    def _day_bars(self, session: date) -> pl.DataFrame:
        """Return con_id, previous_close, the session's daily bar and its usual volume, from the history as of it.

        After a split the daily window and the stored minutes may stand on its two sides; the factors say so, and
        everything is put on the basis of the minutes: a split is not taken for a toxic price, nor is what somebody
        says was a real move.
        """
        sessions = self._work.calendar.window(session, _USUAL_SESSIONS + 1)
        near = pl.col("session").is_between(sessions[0], session) & (pl.col("what_to_show") != "ADJUSTED_LAST")
        window = daily_window(self._vintages_of(session).filter(near), session, sessions).sort("con_id", "session")
        today, before = pl.col("session") == session, pl.col("session") < session
        known = window.group_by("con_id", maintain_order=True).agg(
            pl.col("close").filter(before).last().alias("previous_close"),
            *(pl.col(name).filter(today).first().alias(f"day_{name}") for name in ("high", "low", "close", "volume")),
            pl.col("volume").filter(before).median().alias("usual_volume"),
        )
        factors = self._work.lake.curated.read_many(
            ADJUSTMENT_FACTORS, [Partition(session)], ["con_id", "session", "split_factor", "kind", "observed_ratio"]
        )
        own = factors.filter(pl.col("session") == session)
        moved = factors.filter(pl.col("kind") == REAL_MOVE).select("con_id", real_move="observed_ratio")
        return quality.on_minutes_basis(known, own).join(moved, on="con_id", how="left", maintain_order="left")

    # ------------------------------------------------------------ daily bars

    def daily_bars(self, session: date) -> Published:
        """Publish `curated_tws_1d_bars`: the window as of a session.

        Raises:
            NotPublishedError: no vintage speaks for any instrument, or the universe is missing.
        """
        work, partition = self._work, Partition(session)
        n_lookback = work.settings.manifest.max_lookback_sessions
        sessions = work.calendar.window(session, n_lookback)
        members = universe_of(work, session)
        footer = work.lake.curated.footer(UNIVERSE, partition)
        inputs = {
            **as_input(work, sessions),
            **told_hours(work, CURATED_TWS_1D_BARS.name, session),
            "raw_tws_daily_bars": self._vintages_id(session),
            "universe": footer.content_id if footer else "",
            "lookback": str(n_lookback),
            "max_jump": jumps_id(work),
            "transform": DAILY_VERSION,
        }
        if standing := unchanged(work, CURATED_TWS_1D_BARS, partition, inputs):
            return standing
        vintages = self._vintages_of(session)
        if vintages.is_empty():
            raise NotPublishedError("raw_tws_daily_bars", partition.key, MAKE_INPUTS)
        window = daily_window(vintages, session, sessions).join(members, on="con_id", how="semi")
        sound, broken = quality.sound_daily(window)
        classes = with_max_jump(work, members).select("con_id", "max_jump")
        bounded = sound.join(classes, on="con_id", how="left", maintain_order="left")
        expected, moves = expected_days(work, members, sessions), real_moves(work, sessions)
        finished = quality.finish_daily(bounded, expected, DAILY_VERSION, moves)
        absent = members.join(finished, on="con_id", how="anti")
        plain = members.filter(pl.col("asset_class").is_in(instruments_domain.ADJUSTABLE)).join(
            sound.filter(~pl.col("is_adjusted")), on="con_id", how="semi"
        )
        findings = [
            Finding("daily_rows_sound", broken.is_empty(), f"{broken.height} daily rows break a rule", blocking=False),
            Finding("history_present", absent.is_empty(), f"no daily history: {_names(absent)}", blocking=False),
            Finding("history_adjusted", plain.is_empty(), f"{_PLAIN}: {_names(plain)}", blocking=False),
        ]
        watermark = max(self._newest_vintage(), heard(work, sessions))
        return publish_frame(
            work, CURATED_TWS_1D_BARS, partition, finished, inputs=inputs, watermark=watermark, findings=findings
        )

    def _vintages_of(self, session: date) -> pl.DataFrame:
        return self._vintages.read(vintages_near(self._work, session))

    def _newest_vintage(self) -> str:
        """Return the newest knowledge time of all daily history: it never falls, whichever vintages a window needs."""
        raw = self._work.lake.raw
        newest = raw.newest(RAW_TWS_DAILY_BARS)
        return raw.watermark(RAW_TWS_DAILY_BARS, newest) if newest else ""

    def _vintages_id(self, session: date) -> str:
        raw = self._work.lake.raw
        return combined_id(
            raw.input_id(RAW_TWS_DAILY_BARS, Partition(vintage)) for vintage in vintages_near(self._work, session)
        )


def _said(measured: pl.DataFrame, members: pl.DataFrame) -> tuple[Finding, ...]:
    """Return the warnings of a session's metrics."""
    session, daily = quality.complaints(measured, members)
    return (
        Finding("within_limits", passed=not session, message=session, blocking=False),
        Finding("reconciled", passed=not daily, message=daily, blocking=False),
    )


def _balance(raw: pl.DataFrame, divided: quality.Curation) -> Finding:
    """Check that every raw row is valid, rejected, or superseded by a newer answer: none is silently gone."""
    accounted = divided.valid.height - divided.n_imputed + divided.quarantine.height + divided.n_superseded
    return Finding(
        _ACCOUNTED,
        accounted == raw.height,
        f"{raw.height} raw rows, but {accounted} accounted for",
        metadata={
            "raw": raw.height,
            "valid": divided.valid.height,
            "quarantined": divided.quarantine.height,
            "superseded": divided.n_superseded,
        },
    )


def _names(frame: pl.DataFrame) -> str:
    return ", ".join(frame["symbol"].head(8).to_list()) + (" …" if frame.height > 8 else "")  # noqa: PLR2004
