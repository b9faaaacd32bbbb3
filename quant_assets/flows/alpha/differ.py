"""`quant run diff`: from two run directories to what differs between them."""

from quant_assets.domain.comparison import RunDiff, RunFacts, compare
from quant_assets.domain.run_files import ENVIRONMENT, SELECTION_RECORD, WEIGHTS_RECORD
from quant_assets.domain.verification import errors
from quant_assets.errors import VerificationError
from quant_assets.flows.alpha.fates import fates_of, is_meta
from quant_assets.flows.alpha.report import report_data
from quant_assets.lakehouse.runs import RunDirectory, hash_findings


def diff_runs(a: RunDirectory, b: RunDirectory) -> RunDiff:
    """Compare two finished runs, whose files are checked against their manifests first.

    Raises:
        VerificationError: a run is not finished, or was altered.
    """
    return compare(facts_of(a), facts_of(b))


def facts_of(run: RunDirectory) -> RunFacts:
    """Return what a finished run says about itself.

    Raises:
        VerificationError: it is not finished, or was altered.
    """
    if not run.is_finished:
        raise VerificationError(run.run_id, ["the run is not finished: it has no manifest.json"])
    if problems := errors(hash_findings(run)):
        raise VerificationError(run.run_id, [one.message for one in problems])
    if is_meta(run):
        from quant_assets.flows.meta.facts import meta_facts

        return meta_facts(run)
    data, inputs = report_data(run), run.inputs
    record, chosen = run.read_json(WEIGHTS_RECORD), run.read_json(SELECTION_RECORD)
    return RunFacts(
        run_id=inputs["run_id"],
        session=inputs["session"],
        profile=inputs["profile"],
        tables=inputs["tables"],
        bars={one["con_id"]: (one["symbol"], one["content_id"]) for one in inputs["instruments"]},
        window=inputs["window"],
        config=run.resolved,
        code_version=inputs["code_version"],
        environment=run.read_json(ENVIRONMENT),
        fates=fates_of(run),
        weights={one.con_id: one.weight for one in data.positions},
        metrics={
            "method": data.method,
            "selected": chosen["n_selected"],
            "clusters": chosen["n_clusters"],
            "positions": len(data.held),
            "effective_positions": round(data.effective_positions, 6),
            "net": data.net,
            "gross": data.gross,
            "cash": data.cash,
            "volatility_a_year": data.track.volatility,
            "cumulative_return_in_sample": round(data.track.growth[-1] - 1.0, 9),
            "deepest_drawdown_in_sample": min(data.track.drawdown),
            "costs_from_before": record["costs"]["total"] if record["costs"] else None,
            "warnings": sum(one.severity == "warn" for one in data.findings),
        },
    )
