"""The steps of the alpha cycle: each computes under the network seal, writes once, and answers with its index rows.

A finished run is served from its files, after their digests were checked; nothing is computed again.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

from quant_assets.clock import Clock, SystemClock
from quant_assets.control.seal import network_seal
from quant_assets.domain.reports import index_markdown, render_html, render_markdown, weights_png
from quant_assets.domain.tables import REPORTS
from quant_assets.domain.verification import errors
from quant_assets.errors import NetworkSealedError, VerificationError
from quant_assets.flows.alpha.compute import compute_returns, compute_weights, label
from quant_assets.flows.alpha.report import report_data
from quant_assets.lakehouse.runs import MANIFEST, RunDirectory, RunLog, hash_findings, seal_run
from quant_assets.lakehouse.runs.directory import sha256

MATRIX = "data/returns_matrix.parquet"
CERTIFICATE = "data/returns_certificate.parquet"
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


def build_weights(run: RunDirectory, clock: Clock | None = None) -> pl.DataFrame:
    """Build the weights of a run from its returns matrix; return them (WEIGHTS).

    Raises:
        InfeasibleError: no method answered.
        VerificationError: the weights break a constraint, or a finished run was altered.
    """
    if _is_served(run):
        return run.read_frame(WEIGHTS_FRAME)
    with _sealed(run, clock) as log:
        weighed = compute_weights(run, run.read_frame(MATRIX))
        if problems := errors(weighed.findings):
            raise VerificationError(run.run_id, [f"{one.check}: {one.message}" for one in problems])
        run.write_frame(WEIGHTS_FRAME, weighed.frame)
        run.write("data/weights.csv", _csv(weighed.frame))
        run.write_json("data/weights.json", weighed.record)
        for one in weighed.solution.fallbacks:
            log.note("fallback", status="warn", method=one.method, reason=one.reason, instead=one.instead)
        log.note("weights", status="ok", rows=weighed.frame.height, method=weighed.solution.method)
    return weighed.frame


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
