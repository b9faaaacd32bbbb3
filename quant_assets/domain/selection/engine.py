"""From candidates to a selection: vetoes, threshold, the best of each cluster, and what is relaxed when few remain."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.domain.selection.clusters import correlation_distances, ward_clusters
from quant_assets.domain.selection.metrics import Panel, measure
from quant_assets.domain.selection.scoring import Scores, scores
from quant_assets.domain.tables import SELECTION
from quant_assets.errors import NoCandidatesError
from quant_assets.settings.manifest import Bounds, SelectionConfig

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the relaxation ladder: which limits were in force, and how many instruments kept them."""

    name: str
    threshold: float
    per_cluster: int
    n_selected: int


@dataclass(frozen=True, slots=True)
class Selection:
    """Every instrument of the returns matrix with its verdict; the ladder's last rung is the one that counts."""

    con_ids: tuple[int, ...]
    reasons: tuple[str, ...]
    """Empty for the selected."""
    scores: Scores
    clusters: Numbers
    ladder: tuple[Rung, ...]
    needed: int

    @property
    def selected(self) -> list[int]:
        """The selected instruments, in the order of the matrix."""
        return [con_id for con_id, reason in zip(self.con_ids, self.reasons, strict=True) if not reason]

    @property
    def is_short(self) -> bool:
        """Whether fewer than wanted are left although nothing more could be relaxed."""
        return self.ladder[-1].n_selected < self.needed


def select(
    panel: Panel, instruments: Sequence[int], config: SelectionConfig, *, session: date, profile: str
) -> Selection:
    """Judge every instrument of a returns matrix.

    A veto is final. Who keeps all vetoes needs a score of `threshold` and a place among the best `top_n_per_cluster`
    of its cluster. When fewer than `min_selected` are left, the threshold is halved, then dropped, then the limit per
    cluster is dropped; each rung is on record.

    Args:
        panel: what metrics are computed from.
        instruments: con_ids, one per column of the panel.
        config: weights, vetoes and limits.
        session: for the error's sentence.
        profile: for the error's sentence.

    Raises:
        NoCandidatesError: every instrument is vetoed.
    """
    weights = {str(name): weight for name, weight in config.score_weights.items()}
    metrics = measure(panel, sorted({*weights, *config.vetoes}))
    scored = scores(metrics, weights)
    clusters = ward_clusters(correlation_distances(panel.returns), config.max_clusters)
    vetoed = _vetoes(metrics, config.vetoes, len(instruments))
    if all(vetoed):
        kinds = Counter(part.split(":")[0] for text in vetoed for part in text.split(";"))
        raise NoCandidatesError(session, profile, len(instruments), dict(sorted(kinds.items())))
    ladder, reasons = _climb(scored.values, clusters, vetoed, np.array(instruments, dtype=np.int64), config)
    return Selection(tuple(instruments), tuple(reasons), scored, clusters, tuple(ladder), config.min_selected)


def _vetoes(metrics: Mapping[str, Any], bounds: Mapping[Any, Bounds], n: int) -> list[str]:
    """Return what each instrument is vetoed for; a bound on a number that does not exist is a veto too."""
    found: list[list[str]] = [[] for _ in range(n)]
    for name in sorted(bounds):
        low, high = bounds[name].min, bounds[name].max
        for place, value in enumerate(metrics[name].tolist()):
            if value != value:  # noqa: PLR0124 - NaN
                found[place].append(f"veto_{name}: not computable")
            elif high is not None and value > high:
                found[place].append(f"veto_{name}: {value:.4g} above {high:g}")
            elif low is not None and value < low:
                found[place].append(f"veto_{name}: {value:.4g} below {low:g}")
    return [";".join(one) for one in found]


def _climb(
    values: npt.NDArray[np.float64], clusters: Numbers, vetoed: list[str], who: Numbers, config: SelectionConfig
) -> tuple[list[Rung], list[str]]:
    """Relax step by step until enough are selected or nothing is left to relax."""
    n = len(values)
    steps = [
        Rung("as configured", config.threshold, config.top_n_per_cluster, 0),
        Rung("half the threshold", config.threshold / 2, config.top_n_per_cluster, 0),
        Rung("no threshold", 0.0, config.top_n_per_cluster, 0),
        Rung("no limit per cluster", 0.0, n, 0),
    ]
    tried: list[Rung] = []
    reasons: list[str] = []
    for step in steps:
        if tried and (step.threshold, min(step.per_cluster, n)) == (tried[-1].threshold, min(tried[-1].per_cluster, n)):
            continue
        reasons = _judge(values, clusters, vetoed, who, step)
        tried.append(replace(step, n_selected=reasons.count("")))
        if tried[-1].n_selected >= config.min_selected:
            break
    return tried, reasons


def _judge(
    values: npt.NDArray[np.float64], clusters: Numbers, vetoed: list[str], who: Numbers, step: Rung
) -> list[str]:
    reasons = list(vetoed)
    for place in np.flatnonzero(values < step.threshold).tolist():
        if not reasons[place]:
            reasons[place] = f"below_threshold: score {values[place]:.4f} below {step.threshold:g}"
    taken: Counter[int] = Counter()
    for place in np.lexsort((who, -values)).tolist():
        if reasons[place]:
            continue
        cluster = int(clusters[place])
        taken[cluster] += 1
        if taken[cluster] > step.per_cluster:
            reasons[place] = (
                f"below_top_of_cluster: number {taken[cluster]} of cluster {cluster}, limit {step.per_cluster}"
            )
    return reasons


def selection_rows(
    selection: Selection, certificate: pl.DataFrame, *, session: date, profile: str, run_id: str
) -> pl.DataFrame:
    """Return rows of SELECTION for every frozen instrument: those of the matrix, and those that never got into it.

    Args:
        selection: the verdicts.
        certificate: rows of RETURNS_MATRIX.
        session: label.
        profile: label.
        run_id: label.
    """
    places = {con_id: place for place, con_id in enumerate(selection.con_ids)}
    rows = []
    for one in certificate.iter_rows(named=True):
        place = places.get(one["con_id"])
        row = {"session": session, "profile": profile, "run_id": run_id, "symbol": one["symbol"], "terms": "{}"}
        row |= {"con_id": one["con_id"], "verdict": "rejected", "reason": f"not_in_matrix: {one['reason']}"}
        if place is not None:
            row |= _told(selection, place)
        rows.append(row)
    return SELECTION.conform(SELECTION.frame(rows))


def _told(selection: Selection, place: int) -> dict[str, Any]:
    reason = selection.reasons[place]
    return {
        "verdict": "rejected" if reason else "selected",
        "reason": reason,
        "score": float(selection.scores.values[place]),
        "cluster": int(selection.clusters[place]),
        "terms": json.dumps(selection.scores.terms(place), sort_keys=True),
    }
