"""Operations: what the lakehouse holds, on one page, its copies for research, and what is wrong with it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

import dagster as dg
import polars as pl

from quant_assets.assets.describe import OWNER, Catalogue
from quant_assets.assets.pictures import table
from quant_assets.assets.publish import as_failures
from quant_assets.domain.features import FEATURE_TABLES, LABEL_TABLES
from quant_assets.domain.tables import ALL
from quant_assets.flows.catalog import refresh_catalog
from quant_assets.flows.compact import compact_months, due_months, prove_copies
from quant_assets.flows.daily_reports import write_daily_reports
from quant_assets.flows.data_audit import AuditFinding, audit_data
from quant_assets.lakehouse.copies import has_copies
from quant_assets.resources.work import WorkResource

COPIES_EQUAL = "copies_equal"
UNDAMAGED = "undamaged"
NOTHING_TO_MEND = "nothing_to_mend"
WEEKLY = "0 18 * * 6"
"""Saturday evening: the week's sessions are there, and nobody is waiting for the disk."""
_SHOWN = 200
"""Findings that the UI has room for; the command line tells all."""


def ops_assets(_: Catalogue) -> list[dg.AssetsDefinition]:
    """Return `catalog`, `month_copies` and `data_audit`."""

    @dg.asset(
        group_name="ops",
        kinds={"json"},
        owners=[OWNER],
        deps=["curated_tws_1m_bars", "curated_tws_1d_bars", *FEATURE_TABLES, *LABEL_TABLES],
        description="data/lakehouse/_metadata/catalog.json: partitions, rows, freshness and coverage of every table.",
        automation_condition=dg.AutomationCondition.eager(),
    )
    def catalog(quant: WorkResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        with as_failures():
            reports = write_daily_reports(quant.work)  # first: they lie in a directory that the catalog looks at
            summary = refresh_catalog(quant.work)
        held = summary["tables"].items()
        rows = pl.DataFrame(
            {
                "table": [name for name, _ in held],
                "rows": [one["rows"] for _, one in held],
                "health": [one["health"] for _, one in held],
                "why": ["; ".join(one["reasons"]) for _, one in held],
            }
        )
        return dg.MaterializeResult(
            metadata={
                "rows_by_table": table(rows),
                "latest_expected_session": str(summary["latest_expected_session"]),
                "daily_reports": reports["reports"],
                "daily_reports_written": reports["written"],
                "daily_reports_removed": reports["removed"],
            }
        )

    @dg.asset(
        group_name="ops",
        kinds={"parquet"},
        owners=[OWNER],
        deps=[one.name for one in ALL if has_copies(one)],
        description="Month copies for research reads: derived, proven equal before they are used, never the only copy.",
        automation_condition=dg.AutomationCondition.cron_tick_passed(WEEKLY) & ~dg.AutomationCondition.in_progress(),
        check_specs=[
            dg.AssetCheckSpec(
                COPIES_EQUAL, asset="month_copies", description="Every copy equals its session files, value by value"
            )
        ],
    )
    def month_copies(quant: WorkResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        with as_failures():
            made = compact_months(quant.work, due_months(quant.work))
            proofs = prove_copies(quant.work)
        broken = [one for one in proofs if not one.equal]
        shown = pl.DataFrame([asdict(one) for one in proofs], schema=["table", "month", "equal", "why"], orient="row")
        return dg.MaterializeResult(
            metadata={"made": len(made), "rows": sum(one.rows for one in made), "copies": table(shown)},
            check_results=[
                dg.AssetCheckResult(
                    check_name=COPIES_EQUAL,
                    passed=not broken,
                    description="; ".join(one.why for one in broken) or None,
                    metadata={"copies": len(proofs)},
                )
            ],
        )

    @dg.asset(
        group_name="ops",
        kinds={"markdown"},
        owners=[OWNER],
        deps=["quarantine_tws_bars", "bar_accounting", "certified_sessions"],
        description="What `quant audit data` would tell, with each mend. What is new in quarantine stays new until a "
        "person has read it at the command line.",
        check_specs=[
            dg.AssetCheckSpec(UNDAMAGED, asset="data_audit", description="Files can be read, words are proved"),
            dg.AssetCheckSpec(
                NOTHING_TO_MEND,
                asset="data_audit",
                description="Nothing is missing, unexplained, stale, drifted, left over, or newly toxic",
            ),
        ],
    )
    def data_audit(quant: WorkResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        order = {"error": 0, "warn": 1, "info": 2}
        with as_failures():
            findings = sorted(audit_data(quant.work, peek=True), key=lambda one: order[one.severity])
        counts = Counter[str](one.severity for one in findings)
        shown = pl.DataFrame(
            [asdict(one) for one in findings[:_SHOWN]], schema=["severity", "table", "what", "mend"], orient="row"
        )
        return dg.MaterializeResult(
            metadata={"findings": table(shown), **{f"{one}s": counts[one] for one in order}},
            check_results=[
                _finds_no(UNDAMAGED, findings, "error", dg.AssetCheckSeverity.ERROR),
                _finds_no(NOTHING_TO_MEND, findings, "warn", dg.AssetCheckSeverity.WARN),
            ],
        )

    return [catalog, month_copies, data_audit]


def _finds_no(
    check: str, findings: Sequence[AuditFinding], kind: str, severity: dg.AssetCheckSeverity
) -> dg.AssetCheckResult:
    """Return a check that fails on findings of a kind, and names the first one."""
    found = [one for one in findings if one.severity == kind]
    told = [f"{one.table}: {one.what}" if one.table else one.what for one in found[:1]]
    more = [f"and {len(found) - 1} more"] if len(found) > 1 else []
    return dg.AssetCheckResult(
        check_name=check,
        passed=not found,
        severity=severity,
        description="; ".join([*told, *more]) or None,
        metadata={"findings": len(found)},
    )
