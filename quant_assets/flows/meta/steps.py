"""Building a meta portfolio: one step under the network seal."""

import numpy as np
import polars as pl

from quant_assets.clock import Clock, SystemClock
from quant_assets.control.seal import network_seal
from quant_assets.domain.reports import correlation, track
from quant_assets.domain.reports.meta import MetaData, meta_index, meta_markdown, render_meta
from quant_assets.domain.returns import complete_cases
from quant_assets.domain.run_files import (
    INDEX,
    REPORT,
    REPORT_TEXT,
    SLEEVE_RETURNS,
    WEIGHTS_FRAME,
    WEIGHTS_RECORD,
    WEIGHTS_TEXT,
)
from quant_assets.domain.verification import errors
from quant_assets.errors import NetworkSealedError, VerificationError
from quant_assets.flows.alpha.compute import profile_of
from quant_assets.flows.meta.compute import Blended, compute_blend
from quant_assets.lakehouse.runs import RunDirectory, RunLog, hash_findings, seal_run


def build_meta(run: RunDirectory, clock: Clock | None = None) -> pl.DataFrame:
    """Weigh frozen sleeves, write weights and reports, and seal the run; return the weights (WEIGHTS).

    A finished run is served from its files, after their digests were checked.

    Raises:
        InfeasibleError: the least shares do not fit under the caps, or no method answered.
        VerificationError: the weights break a constraint, or a finished run was altered.
    """
    if run.is_finished:
        if problems := errors(hash_findings(run)):
            raise VerificationError(run.run_id, [one.message for one in problems])
        return run.read_frame(WEIGHTS_FRAME)
    log = RunLog(run, clock or SystemClock())
    with run.writing(clock):
        with network_seal() as seal:
            log.note("sealed", strength=seal.strength)
            made = compute_blend(run)
            if broken := errors(made.findings):
                raise VerificationError(run.run_id, [f"{one.check}: {one.message}" for one in broken])
            _write(run, made, log)
        if seal.refused:
            raise NetworkSealedError(", ".join(seal.refused))
    return made.frame


def _write(run: RunDirectory, made: Blended, log: RunLog) -> None:
    run.write_frame(WEIGHTS_FRAME, made.frame)
    rounded = made.frame.with_columns(pl.col("weight", "risk_contribution").round(9))
    run.write(WEIGHTS_TEXT, rounded.write_csv(float_precision=9))
    run.write_json(WEIGHTS_RECORD, made.record)
    for one in made.record["fallbacks"]:
        log.note("fallback", status="warn", **one)
    log.note("weights", status="ok", rows=made.frame.height, method=made.record["method"])
    data = _report(run, made)
    run.write(REPORT, render_meta(data))
    run.write(REPORT_TEXT, meta_markdown(data))
    run.write(INDEX, meta_index(data))
    log.note("report", status="ok")
    seal_run(run)


def _report(run: RunDirectory, made: Blended) -> MetaData:
    cases = complete_cases(run.read_frame(SLEEVE_RETURNS))
    shares = np.array([one["share"] for one in made.record["sleeves"]])
    names = [one["profile"] for one in made.record["sleeves"]]
    risk = profile_of(run).risk
    return MetaData(
        run_id=run.run_id,
        session=run.inputs["session"],
        profile=run.inputs["profile"],
        description=profile_of(run).description,
        record=made.record,
        max_weight=risk.max_weight,
        sector_cap=risk.sector_cap,
        long_names={one["con_id"]: one["long_name"] or "" for one in run.inputs["instruments"]},
        correlation=correlation(cases.values, names) if len(names) > 1 else None,
        track=track(cases.values, shares, cases.sessions),
        tables=run.inputs["tables"],
        known_basis=run.inputs["known_basis"],
        is_pit=run.inputs["is_pit"],
        merkle_root=run.inputs["merkle_root"],
        code_version=run.inputs["code_version"],
    )
