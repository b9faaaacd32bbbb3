"""The steps of the alpha cycle: each computes under the network seal, writes once, and answers with its index rows.

A finished run is served from its files, after their digests were checked; nothing is computed again. Of an unfinished
one, a stage whose inputs, configuration, code and environment were seen before is served from the cache.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import polars as pl

from quant_assets.clock import Clock, SystemClock
from quant_assets.control.seal import network_seal
from quant_assets.domain.reports import index_markdown, render_html, render_markdown, weights_png
from quant_assets.domain.returns import con_ids
from quant_assets.domain.run_files import (
    CERTIFICATE,
    COMPOSITION,
    INDEX,
    MANIFEST,
    MATRIX,
    PICTURE,
    REPORT,
    REPORT_TEXT,
    SELECTION_FRAME,
    SELECTION_RECORD,
    STREAMS,
    WEIGHTS_FRAME,
    WEIGHTS_RECORD,
    WEIGHTS_TEXT,
)
from quant_assets.domain.tables import REPORTS
from quant_assets.domain.verification import Finding, errors
from quant_assets.errors import NetworkSealedError, VerificationError
from quant_assets.flows.alpha.choose import compute_selection
from quant_assets.flows.alpha.combine import compute_synthesis
from quant_assets.flows.alpha.compute import compute_returns, label
from quant_assets.flows.alpha.report import report_data
from quant_assets.flows.alpha.stages import ALLOCATION, CHOICE, COMPUTED, RETURNS, SYNTHESIS, keep, reuse
from quant_assets.flows.alpha.weigh import compute_weights
from quant_assets.lakehouse.runs import RunDirectory, RunLog, StageCache, hash_findings, seal_run
from quant_assets.lakehouse.runs.directory import sha256


def build_returns(run: RunDirectory, clock: Clock | None = None, cache: StageCache | None = None) -> pl.DataFrame:
    """Build the returns matrix of a run; return its coverage certificate (RETURNS_MATRIX).

    Raises:
        NotEnoughReturnsError: no instrument is fit.
        SnapshotExistsError: the run holds another matrix.
        VerificationError: a finished run was altered.
    """
    if _is_served(run):
        return run.read_frame(CERTIFICATE)
    with _sealed(run, clock) as log:
        if (origin := reuse(run, RETURNS, cache, log)) == COMPUTED:
            matrix, certificate = compute_returns(run)
            run.write_frame(MATRIX, matrix.matrix)
            run.write_frame(CERTIFICATE, certificate)
        stored, rows = run.read_frame(MATRIX), run.read_frame(CERTIFICATE)
        dropped = dict(rows.filter(pl.col("verdict") == "dropped").select("symbol", "reason").rows())
        told = {"rows": stored.height, "n_kept": len(con_ids(stored)), "dropped": dropped}
        log.note("returns", status="ok", **told, origin=origin)
        keep(run, RETURNS, cache)
    return rows


def build_selection(run: RunDirectory, clock: Clock | None = None, cache: StageCache | None = None) -> pl.DataFrame:
    """Judge the instruments of a run's returns matrix; return every instrument with its verdict (SELECTION).

    Raises:
        NoCandidatesError: every instrument is vetoed.
        VerificationError: a finished run was altered.
    """
    if _is_served(run):
        return run.read_frame(SELECTION_FRAME)
    with _sealed(run, clock) as log:
        if (origin := reuse(run, CHOICE, cache, log)) == COMPUTED:
            selected = compute_selection(run, run.read_frame(MATRIX), run.read_frame(CERTIFICATE))
            run.write_frame(SELECTION_FRAME, selected.rows)
            run.write_json(SELECTION_RECORD, selected.record)
        rows, record = run.read_frame(SELECTION_FRAME), run.read_json(SELECTION_RECORD)
        for rung in record["ladder"][1:]:
            log.note("relaxed", status="warn", rung=rung["name"], n_selected=rung["n_selected"])
        status = "warn" if record["n_selected"] < record["needed"] else "ok"
        log.note("selection", status=status, rows=rows.height, n_selected=record["n_selected"], origin=origin)
        keep(run, CHOICE, cache)
    return rows


def build_synthesis(run: RunDirectory, clock: Clock | None = None, cache: StageCache | None = None) -> pl.DataFrame:
    """Make the atoms of a run's selected instruments; return their composition map (SYNTHETIC_RETURNS).

    Raises:
        NotEnoughReturnsError: no atom ever held anything.
        VerificationError: an atom moves the wrong way, or a finished run was altered.
    """
    if _is_served(run):
        return run.read_frame(COMPOSITION)
    with _sealed(run, clock) as log:
        if (origin := reuse(run, SYNTHESIS, cache, log)) == COMPUTED:
            made = compute_synthesis(run, run.read_frame(MATRIX), run.read_frame(SELECTION_FRAME))
            _require(run, errors(made.findings))
            run.write_frame(STREAMS, made.synthesis.matrix)
            run.write_frame(COMPOSITION, made.rows)
        rows = run.read_frame(COMPOSITION)
        n_kept = rows.filter(pl.col("verdict") == "kept").height
        log.note("synthesis", status="ok", rows=rows.height, n_kept=n_kept, origin=origin)
        keep(run, SYNTHESIS, cache)
    return rows


def build_weights(run: RunDirectory, clock: Clock | None = None, cache: StageCache | None = None) -> pl.DataFrame:
    """Build the weights of a run from its synthetic returns; return them (WEIGHTS).

    Raises:
        InfeasibleError: no method answered, or nothing keeps the turnover limit.
        VerificationError: the weights break a constraint, or a finished run was altered.
    """
    if _is_served(run):
        return run.read_frame(WEIGHTS_FRAME)
    with _sealed(run, clock) as log:
        if (origin := reuse(run, ALLOCATION, cache, log)) == COMPUTED:
            stored = [run.read_frame(name) for name in (MATRIX, SELECTION_FRAME, STREAMS, COMPOSITION)]
            weighed = compute_weights(run, *stored)
            _require(run, errors(weighed.findings))
            run.write_frame(WEIGHTS_FRAME, weighed.frame)
            run.write_json(WEIGHTS_RECORD, weighed.record)
        rows, record = run.read_frame(WEIGHTS_FRAME), run.read_json(WEIGHTS_RECORD)
        run.write(WEIGHTS_TEXT, _csv(rows))
        for one in record["fallbacks"]:
            log.note("fallback", status="warn", **one)
        log.note("weights", status="ok", rows=rows.height, method=record["method"], origin=origin)
        keep(run, ALLOCATION, cache)
    return rows


def _require(run: RunDirectory, problems: Sequence[Finding]) -> None:
    if problems:
        raise VerificationError(run.run_id, [f"{one.check}: {one.message}" for one in problems])


def build_report(
    run: RunDirectory,
    clock: Clock | None = None,
    cache: StageCache | None = None,  # noqa: ARG001 - the steps have one form
) -> pl.DataFrame:
    """Write the reports of a run and seal it with its manifest; return its row of REPORTS.

    A report names its run, so that no other run can share it: `cache` is not looked at.

    Raises:
        VerificationError: a finished run was altered.
    """
    if not _is_served(run):
        with _sealed(run, clock) as log:
            data = report_data(run)
            run.write(REPORT, render_html(data))
            run.write(REPORT_TEXT, render_markdown(data))
            run.write(PICTURE, weights_png(run.read_frame(WEIGHTS_FRAME)))
            run.write(INDEX, index_markdown(data))
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
        if seal.children:
            log.note("unsealed_children", status="warn", programs=sorted(set(seal.children)))
        if seal.refused:
            raise NetworkSealedError(", ".join(seal.refused))


def _csv(frame: pl.DataFrame) -> str:
    return frame.with_columns(pl.col("weight", "risk_contribution").round(9)).write_csv(float_precision=9)
