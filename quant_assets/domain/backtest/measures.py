"""What a stream of returns amounts to. A year has 252 sessions; the risk-free rate is 0, and says so."""

from dataclasses import dataclass

import numpy as np

from quant_assets.domain.backtest.holding import Matrix
from quant_assets.domain.returns import SESSIONS_PER_YEAR


@dataclass(frozen=True, slots=True)
class Measures:
    """Measures of simple returns per session; None where a deviation is 0 or there are too few sessions."""

    n_sessions: int
    total: float
    cagr: float
    volatility: float | None
    sharpe: float | None
    sortino: float | None
    max_drawdown: float
    hit_rate: float
    best: float
    worst: float


def measures(returns: Matrix) -> Measures:
    """Measure a stream of simple returns.

    CAGR = Π(1 + r)^(252/n) - 1. Volatility = s √252, s with n - 1. Sharpe = mean / s √252. Sortino = mean / d √252,
    d the root of the mean of squared negative returns over all sessions. Drawdown counts from 1 at the start. Hit
    rate: the share of sessions with a positive return.
    """
    n = len(returns)
    growth = np.concatenate([[1.0], np.cumprod(1.0 + returns)])
    total = float(growth[-1])
    deviation = float(np.std(returns, ddof=1)) if n > 1 else 0.0
    downside = float(np.sqrt(np.mean(np.minimum(returns, 0.0) ** 2)))
    mean = float(returns.mean())
    return Measures(
        n_sessions=n,
        total=total - 1.0,
        cagr=max(total, 0.0) ** (SESSIONS_PER_YEAR / n) - 1.0,
        volatility=deviation * SESSIONS_PER_YEAR**0.5 if n > 1 else None,
        sharpe=mean / deviation * SESSIONS_PER_YEAR**0.5 if deviation > 0 else None,
        sortino=mean / downside * SESSIONS_PER_YEAR**0.5 if downside > 0 else None,
        max_drawdown=float((growth / np.maximum.accumulate(growth) - 1.0).min()),
        hit_rate=float((returns > 0).mean()),
        best=float(returns.max()),
        worst=float(returns.min()),
    )


def drawdown(returns: Matrix) -> Matrix:
    """Return how far the account is below its highest point after each session."""
    growth = np.concatenate([[1.0], np.cumprod(1.0 + returns)])
    return (growth / np.maximum.accumulate(growth) - 1.0)[1:]
