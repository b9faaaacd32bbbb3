"""Who moves together: Ward's clustering of correlation distances."""

import numpy as np
import numpy.typing as npt

from quant_assets.domain.selection.metrics import Matrix

_DIGITS, _EXACT = 9, 12
_MIN_SHARED = 3
"""With fewer sessions in common, a correlation says nothing and counts as none."""


def correlation_distances(returns: Matrix) -> Matrix:
    """Return d = √((1 - r) / 2), 0 for twins and 1 for opposites, rounded to 1e-9.

    r is Pearson's correlation over the sessions that both instruments have, so that one gap costs nobody else a
    session. Source: Mantegna (1999), Hierarchical Structure in Financial Markets; the scale is that of López de Prado
    (2016).

    Args:
        returns: (n_sessions, n); NaN = none.
    """
    known = ~np.isnan(returns)
    mask = known.astype(np.float64)
    values = np.where(known, returns - np.nansum(returns, axis=0) / np.maximum(mask.sum(axis=0), 1.0), 0.0)
    shared = mask.T @ mask
    sums = values.T @ mask
    squares = (values**2).T @ mask
    with np.errstate(divide="ignore", invalid="ignore"):
        covariance = values.T @ values - sums * sums.T / shared
        spread = squares - sums**2 / shared
        correlation = covariance / np.sqrt(spread * spread.T)
    usable = np.isfinite(correlation) & (shared >= _MIN_SHARED)
    exact = np.round(np.where(usable, correlation, 0.0), _EXACT)  # a root makes 1e-8 of the last bits of twins
    distances = np.sqrt(np.clip((1.0 - exact) / 2.0, 0.0, 1.0))
    np.fill_diagonal(distances, 0.0)
    return np.asarray(np.round((distances + distances.T) / 2.0, _DIGITS))


def ward_clusters(distances: Matrix, max_clusters: int) -> npt.NDArray[np.int64]:
    """Cut Ward's tree into at most `max_clusters` clusters.

    Returns:
        A cluster per instrument, numbered from 1 in the order in which they first appear.
    """
    n = len(distances)
    if n <= max_clusters or n == 1:
        return np.arange(1, n + 1, dtype=np.int64)
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    tree = linkage(squareform(distances, checks=False), "ward")
    labels = fcluster(tree, max_clusters, criterion="maxclust")
    names = {label: number for number, label in enumerate(dict.fromkeys(labels.tolist()), start=1)}
    return np.array([names[label] for label in labels.tolist()], dtype=np.int64)
