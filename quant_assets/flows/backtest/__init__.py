"""Walk-forward backtests of the whole alpha cycle, over the lakehouse or over a file of daily history."""

from quant_assets.flows.backtest.directory import list_backtests, open_backtest, store
from quant_assets.flows.backtest.sources import FileHistory, History, LakeHistory
from quant_assets.flows.backtest.walking import Walked, walk

__all__ = ["FileHistory", "History", "LakeHistory", "Walked", "list_backtests", "open_backtest", "store", "walk"]
