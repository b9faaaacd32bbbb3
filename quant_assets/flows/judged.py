"""What a run says about itself, as outcomes of the checks that Dagster shows."""

from collections.abc import Mapping, Sequence

from quant_assets.domain.run_files import SELECTION_RECORD, WEIGHTS_RECORD
from quant_assets.flows.publishing import Finding
from quant_assets.lakehouse.runs import RunDirectory

VERIFIED = "verified"
NO_FALLBACK = "no_fallback"
ROBUST = "robust"
NOT_RELAXED = "not_relaxed"


def weight_findings(run: RunDirectory) -> tuple[Finding, ...]:
    """Return the outcomes of `verified` (blocking), `no_fallback` and `robust` from the record of the weights."""
    record = run.read_json(WEIGHTS_RECORD)
    broken, warned = (_said(record["findings"], severity) for severity in ("error", "warn"))
    fallbacks = [
        f"{one['method']} gave no answer ({one['reason']}); {one['instead']} was asked" for one in record["fallbacks"]
    ]
    shown = {one["check"]: one["message"] for one in record["findings"]}
    return (
        Finding(VERIFIED, passed=not broken, message=broken, metadata=shown),
        Finding(NO_FALLBACK, passed=not fallbacks, message="; ".join(fallbacks), blocking=False),
        Finding(ROBUST, passed=not warned, message=warned, blocking=False),
    )


def _said(findings: Sequence[Mapping[str, str]], severity: str) -> str:
    return "; ".join(f"{one['check']}: {one['message']}" for one in findings if one["severity"] == severity)


def selection_findings(run: RunDirectory) -> tuple[Finding, ...]:
    """Return the outcome of `not_relaxed` from the record of the selection."""
    record = run.read_json(SELECTION_RECORD)
    rungs = [f"{one['name']}: {one['n_selected']} selected" for one in record["ladder"]]
    short = record["n_selected"] < record["needed"]
    passed = len(rungs) == 1 and not short
    text = "" if passed else "; ".join([*rungs, *([f"{record['needed']} were wanted"] if short else [])])
    shown = {"clusters": record["n_clusters"]}
    return (Finding(NOT_RELAXED, passed=passed, message=text, blocking=False, metadata=shown),)
