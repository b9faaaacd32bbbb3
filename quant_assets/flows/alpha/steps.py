"""The steps of the alpha cycle: each computes under the network seal, writes once, and answers with its index rows.

A finished run is served from its files, after their digests were checked; nothing is computed again.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import polars as pl

from quant_assets.clock import Clock, SystemClock
from quant_assets.control.seal import network_seal
from quant_assets.domain.reports import index_markdown, render_html, render_markdown, weights_png
from quant_assets.domain.tables import REPORTS
from quant_assets.domain.verification import Finding, errors
from quant_assets.errors import NetworkSealedError, VerificationError
from quant_assets.flows.alpha.choose import compute_selection, compute_synthesis
from quant_assets.flows.alpha.compute import compute_returns, label
from quant_assets.flows.alpha.report import report_data
from quant_assets.flows.alpha.weigh import compute_weights
from quant_assets.lakehouse.runs import MANIFEST, RunDirectory, RunLog, hash_findings, seal_run
from quant_assets.lakehouse.runs.directory import sha256

MATRIX = "data/returns_matrix.parquet"
CERTIFICATE = "data/returns_certificate.parquet"
SELECTION_FRAME = "data/selection.parquet"
STREAMS = "data/synthetic_returns.parquet"
COMPOSITION = "data/synthetic_composition.parquet"
WEIGHTS_FRAME = "data/weights.parquet"
REPORT = "reports/report.html"


def build_returns(run: RunDirectory, clock: Clock | None = None) -> pl.DataFrame:
    """Build the returns matrix of a run; return its coverage certificate (RETURNS_MATRIX).

    Raises:
        NotEnoughReturnsError: no instrument is fit.
        SnapshotExistsError: the run holds another matrix.
        VerificationError: a finished run was altered.
    """
    if _is_served(run):
        return run.read_frame(CERTIFICATE)
    with _sealed(run, clock) as log:
        matrix, rows = compute_returns(run)
        run.write_frame(MATRIX, matrix.matrix)
        run.write_frame(CERTIFICATE, rows)
        dropped = rows.filter(pl.col("verdict") == "dropped").select("symbol", "reason").rows()
        log.note("returns", status="ok", rows=matrix.matrix.height, n_kept=len(matrix.con_ids), dropped=dict(dropped))
    return rows


def build_selection(run: RunDirectory, clock: Clock | None = None) -> pl.DataFrame:
    """Judge the instruments of a run's returns matrix; return every instrument with its verdict (SELECTION).

    Raises:
        NoCandidatesError: every instrument is vetoed.
        VerificationError: a finished run was altered.
    """
    if _is_served(run):
        return run.read_frame(SELECTION_FRAME)
    with _sealed(run, clock) as log:
        selected = compute_selection(run, run.read_frame(MATRIX), run.read_frame(CERTIFICATE))
        run.write_frame(SELECTION_FRAME, selected.rows)
        run.write_json("data/selection.json", selected.record)
        for rung in selected.record["ladder"][1:]:
            log.note("relaxed", status="warn", rung=rung["name"], n_selected=rung["n_selected"])
        n_selected = selected.record["n_selected"]
        status = "warn" if selected.selection.is_short else "ok"
        log.note("selection", status=status, rows=selected.rows.height, n_selected=n_selected)
    return selected.rows


def build_synthesis(run: RunDirectory, clock: Clock | None = None) -> pl.DataFrame:
    """Make the atoms of a run's selected instruments; return their composition map (SYNTHETIC_RETURNS).

    Raises:
        NotEnoughReturnsError: no atom ever held anything.
        VerificationError: an atom moves the wrong way, or a finished run was altered.
    """
    if _is_served(run):
        return run.read_frame(COMPOSITION)
    with _sealed(run, clock) as log:
        made = compute_synthesis(run, run.read_frame(MATRIX), run.read_frame(SELECTION_FRAME))
        _require(run, errors(made.findings))
        run.write_frame(STREAMS, made.synthesis.matrix)
        run.write_frame(COMPOSITION, made.rows)
        log.note("synthesis", status="ok", rows=made.rows.height, n_kept=len(made.synthesis.kept))
    return made.rows


def build_weights(run: RunDirectory, clock: Clock | None = None) -> pl.DataFrame:
    """Build the weights of a run from its synthetic returns; return them (WEIGHTS).

    Raises:
        InfeasibleError: no method answered, or nothing keeps the turnover limit.
        VerificationError: the weights break a constraint, or a finished run was altered.
    """
    if _is_served(run):
        return run.read_frame(WEIGHTS_FRAME)
    with _sealed(run, clock) as log:
        stored = [run.read_frame(name) for name in (MATRIX, SELECTION_FRAME, STREAMS, COMPOSITION)]
        weighed = compute_weights(run, *stored)
        _require(run, errors(weighed.findings))
        run.write_frame(WEIGHTS_FRAME, weighed.frame)
        run.write("data/weights.csv", _csv(weighed.frame))
        run.write_json("data/weights.json", weighed.record)
        for one in weighed.solution.fallbacks:
            log.note("fallback", status="warn", method=one.method, reason=one.reason, instead=one.instead)
        log.note("weights", status="ok", rows=weighed.frame.height, method=weighed.solution.method)
    return weighed.frame


def _require(run: RunDirectory, problems: Sequence[Finding]) -> None:
    if problems:
        raise VerificationError(run.run_id, [f"{one.check}: {one.message}" for one in problems])


def build_report(run: RunDirectory, clock: Clock | None = None) -> pl.DataFrame:
    """Write the reports of a run and seal it with its manifest; return its row of REPORTS.

    Raises:
        VerificationError: a finished run was altered.
    """
    if not _is_served(run):
        with _sealed(run, clock) as log:
            data = report_data(run)
            run.write(REPORT, render_html(data))
            run.write("reports/report.md", render_markdown(data))
            run.write("plots/weights.png", weights_png(run.read_frame(WEIGHTS_FRAME)))
            run.write("INDEX.md", index_markdown(data))
            log.note("report", status="ok")
            seal_run(run)
    row = {**label(run), "html": f"artifacts/runs/{run.run_id}/{REPORT}", "manifest_sha256": sha256(run.read(MANIFEST))}
    return REPORTS.conform(REPORTS.frame([row]))


def _is_served(run: RunDirectory) -> bool:
    """Return whether the run is finished and unaltered."""
    if not run.is_finished:
        return False
    if problems := errors(hash_findings(run)):
        raise VerificationError(run.run_id, [one.message for one in problems])
    return True


@contextmanager
def _sealed(run: RunDirectory, clock: Clock | None) -> Iterator[RunLog]:
    """Close the network seal around a step, and log its strength; a connection that a library hid is an error too."""
    log = RunLog(run, clock or SystemClock())
    with run.writing(clock):
        with network_seal() as seal:
            log.note("sealed", strength=seal.strength)
            yield log
        if seal.refused:
            raise NetworkSealedError(", ".join(seal.refused))


def _csv(frame: pl.DataFrame) -> str:
    return frame.with_columns(pl.col("weight", "risk_contribution").round(9)).write_csv(float_precision=9)
