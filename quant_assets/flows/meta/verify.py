"""What `quant run verify` asks of a meta portfolio: are the sleeves as frozen, and do they still give these weights?"""

from quant_assets.control.seal import network_seal
from quant_assets.domain.optimization import GRID
from quant_assets.domain.run_files import MANIFEST, SLEEVE_RETURNS, SLEEVE_WEIGHTS, WEIGHTS_FRAME
from quant_assets.domain.verification import Finding
from quant_assets.errors import QuantAssetsError
from quant_assets.flows.alpha.verify import differences, same_frames, tolerance_of
from quant_assets.flows.meta.compute import compute_blend
from quant_assets.lakehouse.content import content_id
from quant_assets.lakehouse.runs import RunDirectory
from quant_assets.lakehouse.runs.directory import sha256


def meta_findings(run: RunDirectory) -> list[Finding]:
    """Compare frozen sleeves with the ids that the run's name is derived from, and weigh them again.

    Sleeves that lie beside the run are compared too; where they are gone, what was copied of them suffices.
    """
    with network_seal():
        return [*_frozen(run), *_beside(run), *_recomputed(run)]


def _frozen(run: RunDirectory) -> list[Finding]:
    returns, weights = run.read_frame(SLEEVE_RETURNS), run.read_frame(SLEEVE_WEIGHTS)
    streams = [name for name in returns.columns if name != "session"]
    found = {
        SLEEVE_RETURNS: (content_id(returns, ("session", *streams), ("session",)), run.inputs["streams"]),
        SLEEVE_WEIGHTS: (
            content_id(weights, ("run_id", "con_id", "weight"), ("run_id", "con_id")),
            run.inputs["holdings"],
        ),
    }
    changed = [
        Finding("error", "inputs", f"{name} does not hold what was frozen")
        for name, (held, frozen) in found.items()
        if held != frozen
    ]
    return changed or [Finding("info", "inputs", f"{len(streams)} sleeves have their content ids")]


def _beside(run: RunDirectory) -> list[Finding]:
    """Compare the digests of sleeves that are still there with the recorded ones."""
    present = {
        one["run_id"]: (RunDirectory(run.path.parent / one["run_id"]), one["manifest_sha256"])
        for one in run.inputs["sleeves"]
    }
    there = {name: pair for name, pair in present.items() if pair[0].is_finished}
    changed = [
        Finding("error", "sleeves", f"run {name} is not the one that was frozen: its manifest differs")
        for name, (sleeve, digest) in there.items()
        if sha256(sleeve.read(MANIFEST)) != digest
    ]
    text = f"{len(there)} of {len(present)} sleeves lie beside this run, and are the ones that were frozen"
    return changed or [Finding("info", "sleeves", text)]


def _recomputed(run: RunDirectory) -> list[Finding]:
    differing = differences(run)
    try:
        made = compute_blend(run)
    except QuantAssetsError as error:
        return [Finding("error", "recomputed", f"the frozen sleeves no longer give weights: {error}")]
    tolerance = max(tolerance_of(made.record["method"]), 1.5 * GRID) if differing else 0.0
    how = "bit for bit" if not differing else f"to {tolerance:g}, because {' and '.join(differing)} differ"
    return [
        Finding("info", "environment", f"compared {how}"),
        same_frames("weights", run.read_frame(WEIGHTS_FRAME), made.frame, tolerance),
        *made.findings,
    ]
