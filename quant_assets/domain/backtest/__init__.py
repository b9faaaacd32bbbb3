"""Walk-forward backtest: decide on the past alone, hold through what follows, and tell apart what it came from."""

from quant_assets.domain.backtest.attribution import PARTS, attributed
from quant_assets.domain.backtest.folds import Fold, Plan, plan_folds
from quant_assets.domain.backtest.holding import Account, Held, Prices, chained, cut, hold, prices_of, without_returns
from quant_assets.domain.backtest.measures import Measures, measures
from quant_assets.domain.backtest.strategy import Decision, Past, Strategy, alpha_strategy

__all__ = [
    "PARTS",
    "Account",
    "Decision",
    "Fold",
    "Held",
    "Measures",
    "Past",
    "Plan",
    "Prices",
    "Strategy",
    "alpha_strategy",
    "attributed",
    "chained",
    "cut",
    "hold",
    "measures",
    "plan_folds",
    "prices_of",
    "without_returns",
]
