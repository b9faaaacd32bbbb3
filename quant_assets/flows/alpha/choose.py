"""Selection and synthesis of a run, computed from its frozen files; nothing is written here."""

from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import polars as pl

from quant_assets.domain.returns import con_ids
from quant_assets.domain.selection import Panel, Selection, panel_of, select, selection_rows
from quant_assets.domain.synthesis import Synthesis, composition, sign_problems, synthesize
from quant_assets.domain.verification import Finding
from quant_assets.flows.alpha.compute import label, profile_of
from quant_assets.lakehouse.runs import RunDirectory


@dataclass(frozen=True, slots=True)
class Selected:
    """Rows of SELECTION, and what data/selection.json says about how they came about."""

    rows: pl.DataFrame
    record: dict[str, Any]
    selection: Selection


@dataclass(frozen=True, slots=True)
class Synthesized:
    """Rows of SYNTHETIC_RETURNS, the streams themselves, and whether they point the right way."""

    rows: pl.DataFrame
    synthesis: Synthesis
    findings: list[Finding]


def compute_selection(run: RunDirectory, matrix: pl.DataFrame, certificate: pl.DataFrame) -> Selected:
    """Return the verdict on every frozen instrument.

    Raises:
        NoCandidatesError: every instrument is vetoed.
    """
    config, told = profile_of(run).selection, label(run)
    who = {"session": told["session"], "profile": told["profile"]}
    selection = select(_panel(run, matrix), con_ids(matrix), config, **who)
    rows = selection_rows(selection, certificate, **told)
    record = {
        "weights": {name: round(value, 9) for name, value in selection.scores.weights.items()},
        "vetoes": {name: bounds.model_dump(exclude_none=True) for name, bounds in sorted(config.vetoes.items())},
        "ladder": [asdict(rung) for rung in selection.ladder],
        "needed": selection.needed,
        "n_selected": len(selection.selected),
        "n_clusters": len(set(selection.clusters.tolist())),
        "unknown_metrics": sorted(
            name for name, weight in config.score_weights.items() if weight > 0 and name not in selection.scores.weights
        ),
    }
    return Selected(rows, record, selection)


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
    synthesis = synthesize(columns, _panel(run, columns).log_closes, con_ids(columns), profile_of(run).synthesis.atoms)
    rows = composition(synthesis, dict(chosen.select("con_id", "symbol").iter_rows()), **label(run))
    problems = sign_problems(synthesis.matrix, matrix, synthesis.kept)
    findings = [Finding("error", "directional_sign", problem) for problem in problems] or [
        Finding("info", "directional_sign", f"{len(synthesis.kept)} atoms move in their own direction")
    ]
    return Synthesized(rows, synthesis, findings)


def _panel(run: RunDirectory, matrix: pl.DataFrame) -> Panel:
    wanted = set(con_ids(matrix))
    frames = [
        run.read_frame(one["file"]).select(
            pl.from_epoch("timestamp", "s").cast(pl.Date).alias("session"),
            pl.lit(one["con_id"], dtype=pl.Int64).alias("con_id"),
            "adj_close",
            "close",
            "high",
            "low",
            "volume",
        )
        for one in run.inputs["instruments"]
        if one["con_id"] in wanted
    ]
    return panel_of(matrix, pl.concat(frames), [date.fromisoformat(text) for text in run.inputs["window"]])
