"""Bars: bronze as TWS served them, silver as every rule allows."""

import dagster as dg

from quant_assets.assets.describe import Catalogue, checks
from quant_assets.assets.making import table_asset
from quant_assets.assets.pictures import coverage_pictures
from quant_assets.assets.publish import Build
from quant_assets.domain.tables import (
    BAR_ACCOUNTING,
    CURATED_TWS_1D_BARS,
    CURATED_TWS_1M_BARS,
    DQ_METRICS,
    QUARANTINE_TWS_BARS,
    RAW_TWS_BARS,
    RAW_TWS_DAILY_BARS,
)
from quant_assets.flows.accounting import CHECKS as BALANCE
from quant_assets.flows.accounting import WARNINGS as EXPLANATION
from quant_assets.flows.curate import Curator
from quant_assets.flows.ingest import ingest_daily, ingest_minutes
from quant_assets.flows.ingested import ACCEPTED, PERMITTED, PROVED, RECOGNISED, SERVED, SETTLED, raw_daily, raw_minutes
from quant_assets.flows.live import promote
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition

_GIVEN_UP = {
    PERMITTED: "TWS refused no instrument for want of a subscription, or because of another session",
    RECOGNISED: "TWS denied no instrument (error 200)",
    ACCEPTED: "TWS refused no request each time that it was sent",
}
_CURATED = (CURATED_TWS_1M_BARS, QUARANTINE_TWS_BARS, BAR_ACCOUNTING, DQ_METRICS)


def bar_assets(catalogue: Catalogue) -> list[dg.AssetsDefinition]:
    """Return `raw_tws_bars`, `raw_tws_daily_bars`, the curated bars with their quarantine, and the daily windows."""
    return [
        table_asset(
            [RAW_TWS_BARS],
            [catalogue.spec(RAW_TWS_BARS, deps=["universe"], kinds=["tws"])],
            checks(
                "raw_tws_bars",
                blocking={SETTLED: "Every instrument of the universe has an answer to rely on: bars, or a firm no"},
                warning=_GIVEN_UP,
                is_bronze=True,
            ),
            _raw_minutes,
        ),
        table_asset(
            [RAW_TWS_DAILY_BARS],
            [catalogue.spec(RAW_TWS_DAILY_BARS, deps=["universe"], kinds=["tws"])],
            checks(
                "raw_tws_daily_bars",
                blocking={SETTLED: "Every series of the universe has an answer to rely on: a vintage, or a firm no"},
                warning=_GIVEN_UP
                | {
                    SERVED: "Some vintage holds daily history of every instrument of the universe",
                    PROVED: "Something proves what TWS answered about every series; doubts are asked about again",
                },
                is_bronze=True,
            ),
            _raw_daily,
            op_tags={"dagster/priority": "1"},  # before the minutes, whose completeness its volumes prove; no edge, for
            # minutes do without: then a second answer has to confirm the first
        ),
        table_asset(
            _CURATED,
            [
                catalogue.spec(table, deps=["raw_tws_bars", "raw_tws_daily_bars", "adjustment_factors"])
                for table in _CURATED
            ],
            [
                *checks(
                    "curated_tws_1m_bars",
                    blocking={"accounted": "Every raw row is valid, in quarantine, or superseded by a newer answer"}
                    | BALANCE,
                    warning=EXPLANATION,
                ),
                *checks("bar_accounting"),
                *checks("quarantine_tws_bars"),
                *checks(
                    "dq_metrics",
                    warning={
                        "within_limits": "Coverage and the shares of bad rows keep to the limits of "
                        "configs/manifest.json",
                        "reconciled": "High, low, close and volume of the minutes equal the daily bar's, within "
                        "tolerance",
                    },
                ),
            ],
            _curated_minutes,
            finish=coverage_pictures,
            can_subset=True,  # so that one of them can be named alone; the pass over the rows makes all
        ),
        table_asset(
            [CURATED_TWS_1D_BARS],
            [catalogue.spec(CURATED_TWS_1D_BARS, deps=["universe", "raw_tws_daily_bars"])],
            checks(
                "curated_tws_1d_bars",
                warning={
                    "daily_rows_sound": "No daily row breaks a price rule",
                    "history_present": "Every instrument of the universe has daily history",
                    "history_adjusted": "ADJUSTED_LAST speaks for the adj_close of every share",
                },
            ),
            _curated_daily,
        ),
    ]


def _raw_minutes(work: Work, partitions: list[Partition]) -> Build:
    promote(work)
    added = ingest_minutes(work, [partition.session for partition in partitions]).history_metadata()
    return lambda partition: [raw_minutes(work, partition.session, added)]


def _raw_daily(work: Work, partitions: list[Partition]) -> Build:
    added = ingest_daily(work, [partition.session for partition in partitions]).history_metadata()
    return lambda partition: [raw_daily(work, partition.session, added)]


def _curated_minutes(work: Work, _: list[Partition]) -> Build:
    curator = Curator(work)
    return lambda partition: curator.minute_bars(partition.session)


def _curated_daily(work: Work, _: list[Partition]) -> Build:
    curator = Curator(work)
    return lambda partition: [curator.daily_bars(partition.session)]
