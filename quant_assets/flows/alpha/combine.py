"""Synthesis of a run, computed from its frozen files; nothing is written here."""

from dataclasses import dataclass

import polars as pl

from quant_assets.domain.returns import con_ids
from quant_assets.domain.synthesis import Synthesis, composition, sign_problems, synthesize
from quant_assets.domain.verification import Finding
from quant_assets.flows.alpha.compute import label, profile_of
from quant_assets.flows.alpha.panel import panel
from quant_assets.lakehouse.runs.directory import RunDirectory


@dataclass(frozen=True, slots=True)
class Synthesized:
    """Rows of SYNTHETIC_RETURNS, the streams themselves, and whether they point the right way."""

    rows: pl.DataFrame
    synthesis: Synthesis
    findings: list[Finding]


def compute_synthesis(run: RunDirectory, matrix: pl.DataFrame, selected: pl.DataFrame) -> Synthesized:
    """Return the atoms of the selected instruments.

    Args:
        run: the run.
        matrix: its returns matrix.
        selected: rows of SELECTION.

    Raises:
        NotEnoughReturnsError: no atom ever held anything.
    """
    chosen = selected.filter(pl.col("verdict") == "selected")
    columns = matrix.select("session", *map(str, chosen["con_id"].to_list()))
    synthesis = synthesize(columns, panel(run, columns).log_closes, con_ids(columns), profile_of(run).synthesis.atoms)
    rows = composition(synthesis, dict(chosen.select("con_id", "symbol").iter_rows()), **label(run))
    problems = sign_problems(synthesis.matrix, matrix, synthesis.kept)
    findings = [Finding("error", "directional_sign", problem) for problem in problems] or [
        Finding("info", "directional_sign", f"{len(synthesis.kept)} atoms move in their own direction")
    ]
    return Synthesized(rows, synthesis, findings)
