"""TradingView's own ratings in the shape of `tv_technicals_1d`: the second producer of that table."""

from collections.abc import Mapping
from datetime import date

import polars as pl

from quant_assets.connectors.tradingview.client import TradingViewClient
from quant_assets.connectors.tradingview.query import ScanQuery
from quant_assets.connectors.tradingview.symbols import to_tradingview
from quant_assets.domain.features.technicals import PRICE_BASIS
from quant_assets.domain.tables import TV_TECHNICALS_1D

COLUMNS: Mapping[str, str] = {
    "recommend_all": "Recommend.All",
    "recommend_ma": "Recommend.MA",
    "recommend_other": "Recommend.Other",
    "rsi": "RSI",
    "adx": "ADX",
    "ao": "AO",
    "cci20": "CCI20",
    "stoch_k": "Stoch.K",
    "stoch_d": "Stoch.D",
    "macd": "MACD.macd",
    "macd_signal": "MACD.signal",
    "volatility_d": "Volatility.D",
    "perf_w": "Perf.W",
    "perf_1m": "Perf.1M",
}
"""Our column → TradingView's."""


def technicals(client: TradingViewClient, members: pl.DataFrame, session: date) -> pl.DataFrame:
    """Ask for the daily technicals of instruments, as they stand now.

    Args:
        client: of the market that they are listed in.
        members: con_id, symbol, exchange.
        session: the session that "now" is.

    Returns:
        TV_TECHNICALS_1D of the instruments that TradingView knows; a value that is no number is null.

    Raises:
        ScannerUnavailableError, ScannerRefusedError, MalformedAnswerError: see `TradingViewClient.scan`.
    """
    named = {to_tradingview(row["exchange"], row["symbol"]): row for row in members.iter_rows(named=True)}
    query = ScanQuery("the technicals", tuple(COLUMNS.values()), tickers=tuple(sorted(named)), limit=len(named))
    found = client.scan(query)
    rows = [
        {
            "session": session,
            "con_id": named[one.name]["con_id"],
            "symbol": named[one.name]["symbol"],
            **{ours: _number(one.values[theirs]) for ours, theirs in COLUMNS.items()},
            "producer": "tradingview",
            "price_basis": PRICE_BASIS,
            "feature_version": "v1",
        }
        for one in found
        if one.name in named
    ]
    return TV_TECHNICALS_1D.frame(rows)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
