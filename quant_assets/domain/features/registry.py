"""Every feature group, declared once: what it reads, how far back, and where each formula comes from.

Columns, dtypes, units and bounds are those of the table's declaration; a group adds what a table cannot say.
"""

from collections.abc import Mapping

import polars as pl

from quant_assets.domain.features.group import Feature, FeatureGroup, Inputs, Lookback
from quant_assets.domain.features.labels import HORIZONS, RETURNS_VERSION, forward_returns
from quant_assets.domain.features.price import PRICE_1M_VERSION, price_1m
from quant_assets.domain.features.technicals import TECHNICALS_1D_VERSION, technicals_1d
from quant_assets.domain.features.volume import VOLUME_1M_VERSION, volume_1m
from quant_assets.domain.tables import (
    CURATED_TWS_1D_BARS,
    CURATED_TWS_1M_BARS,
    FEATURES_PRICE_1M_V1,
    FEATURES_VOLUME_1M_V1,
    LABELS_TWS_RETURNS,
    TV_TECHNICALS_1D,
)
from quant_assets.errors import UnknownNameError

_OURS = "this project; windows over expected minutes of one session"
_RATINGS = "TradingView, Technical Ratings (help page 43000614331; library TechnicalRating 3)"
_BAR_COLUMNS = ("session", "con_id", "symbol", "ts")


def _price() -> tuple[Feature, ...]:
    mean = "mean of the closes present among minutes m-{0}+1 … m"
    missing = "minutes without a bar among m-{0}+1 … m"
    return (
        *(Feature(f"ret_{k}", f"close(m) / close(m-{k}) - 1", _OURS, k + 1) for k in (1, 5, 20)),
        *(Feature(f"ma_{k}", mean.format(k), _OURS, k) for k in (5, 20)),
        Feature("vol_20", "sample standard deviation of ret_1 over minutes m-19 … m", _OURS, 21),
        *(Feature(f"n_missing_in_window_{k}", missing.format(k), _OURS, k) for k in (5, 20)),
    )


def _volume() -> tuple[Feature, ...]:
    return (
        Feature("vol_ma_20", "mean of the volumes present among minutes m-19 … m", _OURS, 20),
        Feature("vol_zscore_20", "(volume(m) - vol_ma_20) / sample standard deviation of those volumes", _OURS, 20),
        Feature("vol_percentile_20", "share of those volumes that are ≤ volume(m)", _OURS, 20),
        Feature("n_missing_volume_in_window_20", "minutes without a volume among m-19 … m", _OURS, 20),
    )


def _technicals() -> tuple[Feature, ...]:
    wilder = "J. W. Wilder, New Concepts in Technical Trading Systems (1978), as TradingView's"
    return (
        Feature("recommend_all", "mean of recommend_ma and recommend_other", _RATINGS, 250),
        Feature("recommend_ma", "mean vote of 6 SMA, 6 EMA, HMA 9, VWMA 20, Ichimoku 9-26-52", _RATINGS, 250),
        Feature(
            "recommend_other",
            "mean vote of RSI, Stochastic, CCI, ADX, AO, Momentum, MACD, Stochastic RSI, %R, Bull Bear Power, UO",
            _RATINGS,
            250,
        ),
        Feature("rsi", "100 - 100 / (1 + rma(gains, 14) / rma(losses, 14))", f"{wilder} ta.rsi", 250),
        Feature("adx", "rma(100 |+DI - -DI| / (+DI + -DI), 14), DI over 14", f"{wilder} ta.dmi", 250),
        Feature("ao", "sma(hl2, 5) - sma(hl2, 34)", "TradingView, library ta: ao", 34),
        Feature("cci20", "(close - sma 20) / (0.015 · mean absolute deviation)", "TradingView ta.cci(close, 20)", 20),
        Feature(
            "stoch_k", "sma(100 (close - lowest 14) / (highest 14 - lowest 14), 3)", "TradingView stoch 14-3-3", 16
        ),
        Feature("stoch_d", "sma(stoch_k, 3)", "TradingView stoch 14-3-3", 18),
        Feature("macd", "ema(close, 12) - ema(close, 26)", "TradingView ta.macd(close, 12, 26, 9)", 250),
        Feature("macd_signal", "ema(macd, 9)", "TradingView ta.macd(close, 12, 26, 9)", 250),
        Feature("volatility_d", "100 · true range / low", "TradingView screener, help page 43000635876", 2),
        Feature("perf_w", "100 (close / open of 7 days before - 1)", "TradingView screener, help page 43000636536", 8),
        Feature(
            "perf_1m", "100 (close / open of 30 days before - 1)", "TradingView screener, help page 43000636536", 24
        ),
    )


def _of_daily(window: pl.DataFrame, _: pl.DataFrame) -> pl.DataFrame:
    return technicals_1d(window)


PRICE_1M = FeatureGroup(
    name="price_1m",
    version="v1",
    table=FEATURES_PRICE_1M_V1,
    inputs=Inputs(CURATED_TWS_1M_BARS, (*_BAR_COLUMNS, "close", "is_imputed_close")),
    lookback=Lookback(21, "minutes"),
    features=_price(),
    compute=price_1m,
    revision=PRICE_1M_VERSION,
)

VOLUME_1M = FeatureGroup(
    name="volume_1m",
    version="v1",
    table=FEATURES_VOLUME_1M_V1,
    inputs=Inputs(CURATED_TWS_1M_BARS, (*_BAR_COLUMNS, "close", "volume", "is_imputed_close", "is_imputed_volume")),
    lookback=Lookback(20, "minutes"),
    features=_volume(),
    compute=volume_1m,
    revision=VOLUME_1M_VERSION,
)

TECHNICALS_1D = FeatureGroup(
    name="tv_technicals_1d",
    version="v1",
    table=TV_TECHNICALS_1D,
    inputs=Inputs(CURATED_TWS_1D_BARS, ("session", "con_id", "symbol", "open", "high", "low", "close", "volume")),
    lookback=Lookback(250, "sessions"),
    features=_technicals(),
    compute=_of_daily,
    revision=TECHNICALS_1D_VERSION,
    time="session",
    known="session",
)

RETURNS = FeatureGroup(
    name="tws_returns",
    version="v1",
    table=LABELS_TWS_RETURNS,
    inputs=Inputs(CURATED_TWS_1M_BARS, (*_BAR_COLUMNS, "close", "is_imputed_close")),
    lookback=Lookback(1, "minutes"),
    features=(Feature("forward_return", "close(m + horizon) / close(m) - 1", _OURS, 1),),
    compute=forward_returns,
    revision=f"{RETURNS_VERSION}|{','.join(map(str, HORIZONS))}",
    known="matures_ts",
)
"""The labels. They look ahead, and may depend on no bar later than `matures_ts`."""

GROUPS: Mapping[tuple[str, str], FeatureGroup] = {(g.name, g.version): g for g in (PRICE_1M, VOLUME_1M, TECHNICALS_1D)}
LABELS: Mapping[str, FeatureGroup] = {RETURNS.version: RETURNS}
FEATURE_TABLES = tuple(group.table.name for group in GROUPS.values())
LABEL_TABLES = tuple(group.table.name for group in LABELS.values())


def feature_group(name: str, version: str) -> FeatureGroup:
    """Return a declared group.

    Raises:
        UnknownNameError: no group has this name, or it has no such version.
    """
    versions = {known: group for (called, known), group in GROUPS.items() if called == name}
    if not versions:
        raise UnknownNameError("feature group", name, {called for called, _ in GROUPS})
    if version not in versions:
        raise UnknownNameError(f"version of feature group {name!r}", version, versions)
    return versions[version]


def label_group(version: str) -> FeatureGroup:
    """Return the labels of a version.

    Raises:
        UnknownNameError: there is no such version.
    """
    if version not in LABELS:
        raise UnknownNameError("label version", version, LABELS)
    return LABELS[version]
