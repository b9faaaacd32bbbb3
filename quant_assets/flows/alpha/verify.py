"""`quant run verify`: does a run hold what it claims, and do its frozen inputs still give its numbers?"""

import numpy as np
import polars as pl

from quant_assets.control.seal import network_seal
from quant_assets.domain.comparison import changed, flat
from quant_assets.domain.optimization import GRID
from quant_assets.domain.run_files import (
    CERTIFICATE,
    COMPOSITION,
    ENVIRONMENT,
    MATRIX,
    SELECTION_FRAME,
    STREAMS,
    WEIGHTS_FRAME,
)
from quant_assets.domain.verification import Finding, Severity, errors
from quant_assets.errors import QuantAssetsError
from quant_assets.flows.alpha.choose import compute_selection
from quant_assets.flows.alpha.combine import compute_synthesis
from quant_assets.flows.alpha.compute import compute_returns
from quant_assets.flows.alpha.fates import is_meta
from quant_assets.flows.alpha.weigh import compute_weights
from quant_assets.flows.snapshot import BAR_COLUMNS
from quant_assets.lakehouse.content import content_id
from quant_assets.lakehouse.layout import Layout
from quant_assets.lakehouse.runs import RunDirectory, code_version, environment, hash_findings, open_run

ITERATIVE = frozenset({"min_variance", "max_sharpe", "cvar", "risk_parity", "adaptive"})
"""Methods whose solver iterates: elsewhere their weights agree to 1e-6, not to one step of the grid."""

_ITERATIVE_TOLERANCE = 1e-6


def verify_run(layout: Layout, run_id: str) -> list[Finding]:
    """Hash every file of a run against its manifest, then recompute every step from the frozen inputs.

    In the recorded environment and code the numbers must be equal bit for bit. Elsewhere weights may differ by one
    step of the 1e-9 grid (1e-6 for iterative solvers); the finding `recomputed` says which comparison was made.
    Nothing is written, and the network is sealed.

    Returns:
        Findings in fixed order; the run is good when none is an `error`.

    Raises:
        UnknownNameError: there is no such run.
    """
    return verify_directory(open_run(layout, run_id))


def verify_directory(run: RunDirectory) -> list[Finding]:
    """Verify a run directory wherever it lies: nothing but its own files is read. See `verify_run`."""
    if not run.is_finished:
        return [Finding("error", "files", "the run is not finished: it has no manifest.json. Materialize it again.")]
    findings = hash_findings(run)
    if errors(findings):
        return findings
    findings += _frozen_findings(run)
    if is_meta(run):
        from quant_assets.flows.meta.verify import meta_findings

        return [*findings, *meta_findings(run)]
    with network_seal():
        return [*findings, *_recomputed(run)]


def _frozen_findings(run: RunDirectory) -> list[Finding]:
    """Compare the content of frozen bars with the ids that the run's name is derived from."""
    changed = [
        Finding("error", "inputs", f"{one['file']} does not hold the bars that were frozen")
        for one in run.inputs["instruments"]
        if content_id(run.read_frame(one["file"]), BAR_COLUMNS, ("timestamp",)) != one["content_id"]
    ]
    n_instruments = len(run.inputs["instruments"])
    return changed or [Finding("info", "inputs", f"the bars of {n_instruments} instruments have their content ids")]


def _recomputed(run: RunDirectory) -> list[Finding]:
    differing = differences(run)
    try:
        matrix, rows = compute_returns(run)
        selected = compute_selection(run, matrix.matrix, rows)
        made = compute_synthesis(run, matrix.matrix, selected.rows)
        weighed = compute_weights(run, matrix.matrix, selected.rows, made.synthesis.matrix, made.rows)
    except QuantAssetsError as error:
        return [Finding("error", "recomputed", f"the frozen inputs no longer give weights: {error}")]
    tolerance = 0.0 if not differing else tolerance_of(weighed.solution.method)
    how = f"to {tolerance:g}, because of {', '.join(differing)}" if differing else "bit for bit"
    step = 1.5 * GRID if differing else 0.0
    textual = ["terms"] if differing else []
    return [
        Finding("info", "environment", f"compared {how}"),
        same_frames("returns", run.read_frame(MATRIX), matrix.matrix, step),
        same_frames("certificate", run.read_frame(CERTIFICATE), rows, step),
        same_frames("selection", run.read_frame(SELECTION_FRAME).drop(textual), selected.rows.drop(textual), step),
        same_frames("synthetic returns", run.read_frame(STREAMS), made.synthesis.matrix, step),
        same_frames("composition", run.read_frame(COMPOSITION), made.rows, step),
        same_frames("weights", run.read_frame(WEIGHTS_FRAME), weighed.frame, tolerance),
        *made.findings,
        *weighed.findings,
    ]


def differences(run: RunDirectory) -> list[str]:
    """Return what is not as it was when the run was made, with both sides."""
    then, now = run.read_json(ENVIRONMENT), environment()
    told = [f"{one['key']} ({one['a']}, here {one['b']})" for one in changed("key", dict(flat(then)), dict(flat(now)))]
    same_code = run.inputs["code_version"] == code_version()
    return told if same_code else [*told, f"code ({run.inputs['code_version']}, here {code_version()})"]


def tolerance_of(method: str) -> float:
    """Return how far weights of a method may differ in another environment."""
    return _ITERATIVE_TOLERANCE if method in ITERATIVE else 1.5 * GRID


def same_frames(what: str, stored: pl.DataFrame, computed: pl.DataFrame, tolerance: float) -> Finding:
    """Compare two frames: everything but numbers exactly, numbers within `tolerance`."""
    if stored.equals(computed):
        return Finding("info", "recomputed", f"{what}: equal bit for bit", 0.0)
    numbers = [name for name, dtype in stored.schema.items() if dtype.is_float()]
    is_alike = stored.schema == computed.schema and stored.drop(numbers).equals(computed.drop(numbers))
    if not is_alike:
        return Finding("error", "recomputed", f"{what}: other rows, names or verdicts than stored")
    a, b = stored.select(numbers).to_numpy(), computed.select(numbers).to_numpy()
    distance = float(np.max(np.abs(a - b), where=~np.isnan(a) & ~np.isnan(b), initial=0.0))
    is_close = bool((np.isnan(a) == np.isnan(b)).all()) and distance <= tolerance
    severity: Severity = "info" if is_close else "error"
    return Finding(
        severity, "recomputed", f"{what}: largest difference {distance:.3g}, allowed {tolerance:g}", distance
    )
