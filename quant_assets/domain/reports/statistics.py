"""Numbers that only the report needs."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import numpy.typing as npt

from quant_assets.domain.reports.data import Correlation, Track, Tree
from quant_assets.domain.returns import SESSIONS_PER_YEAR
from quant_assets.domain.selection.clusters import correlation_distances

_MIN_TO_ORDER = 3
_MAX_TO_DRAW = 80


def correlation(returns: npt.NDArray[np.float64], symbols: Sequence[str]) -> Correlation:
    """Return Pearson correlations in the leaf order of average linkage, so that what moves together stands together.

    Args:
        returns: (n_sessions, n_instruments) without gaps, no column constant.
        symbols: one per column.
    """
    values = np.atleast_2d(np.corrcoef(returns, rowvar=False))
    order = _leaves(values) if len(symbols) >= _MIN_TO_ORDER else list(range(len(symbols)))
    ordered = np.round(values[np.ix_(order, order)], 6)
    return Correlation([symbols[i] for i in order], ordered.tolist())


def _leaves(values: npt.NDArray[np.float64]) -> list[int]:
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distance = np.round(np.sqrt(np.clip((1.0 - values) / 2.0, 0.0, 1.0)), 9)
    np.fill_diagonal(distance, 0.0)
    return [int(i) for i in leaves_list(linkage(squareform(distance, checks=False), "average", optimal_ordering=True))]


def tree(returns: npt.NDArray[np.float64], symbols: Sequence[str], clusters: Sequence[int]) -> Tree | None:
    """Return Ward's tree of correlation distances, the one that selection cuts into clusters.

    Args:
        returns: (n_sessions, n_instruments); NaN = none.
        symbols: one per column.
        clusters: the cluster of each column.

    Returns:
        None for fewer than three instruments, and for more than can be drawn on a page.
    """
    if not _MIN_TO_ORDER <= len(symbols) <= _MAX_TO_DRAW:
        return None
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    joined = linkage(squareform(correlation_distances(returns), checks=False), "ward")
    merges = [(int(a), int(b), round(float(height), 6)) for a, b, height, _ in joined.tolist()]
    return Tree(list(symbols), [int(i) for i in leaves_list(joined)], merges, list(clusters))


def track(returns: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], sessions: Sequence[date]) -> Track:
    """Hold the weights through the sessions, rebalanced to them every session, without costs; cash earns nothing.

    Args:
        returns: (n_sessions, n_instruments) without gaps.
        weights: (n_instruments,)
        sessions: one per row.
    """
    portfolio = returns @ weights
    growth = np.cumprod(1.0 + portfolio)
    peaks = np.maximum.accumulate(np.concatenate([[1.0], growth]))[1:]
    deviation = float(np.std(portfolio, ddof=1)) if len(portfolio) > 1 else 0.0
    return Track(
        list(sessions),
        np.round(growth, 9).tolist(),
        np.round(growth / peaks - 1.0, 9).tolist(),
        round(deviation * SESSIONS_PER_YEAR**0.5, 9),
    )
