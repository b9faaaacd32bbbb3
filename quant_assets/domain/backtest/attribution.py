"""Where a return came from: the pool, the selection, the allocation, and what trading took.

Per session, and so for every sum of sessions:

    net = pool + selection + allocation + costs

pool        1/N of everybody who could have been selected
selection   equal weights of the selected, less the pool: what choosing was worth
allocation  the weights themselves before costs, less equal weights of the selected: what weighing was worth
costs       after costs less before: never positive

The three portfolios trade at the same closes and drift between them alike; only the strategy pays.
"""

from collections.abc import Mapping

import numpy as np

from quant_assets.domain.backtest.holding import Held, Matrix

PARTS = ("pool", "selection", "allocation", "costs")


def attributed(strategy: Held, selected: Held, pool: Held) -> Mapping[str, Matrix]:
    """Return the parts of the strategy's net return per session; they sum to it.

    Args:
        strategy: the weights.
        selected: equal weights of the selected.
        pool: 1/N of the pool.
    """
    assert strategy.sessions == selected.sessions == pool.sessions
    return {
        "pool": np.asarray(pool.gross),
        "selection": selected.gross - pool.gross,
        "allocation": strategy.gross - selected.gross,
        "costs": strategy.net - strategy.gross,
    }
