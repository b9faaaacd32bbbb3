"""Feature groups: `features_<group>_<freq>_<version>`; a changed meaning is a new version. And the labels."""

import polars as pl

from quant_assets.domain.tables import columns as c
from quant_assets.domain.tables.core import UTC_MICROS, Column, Table


def _feature(name: str, unit: str, description: str, *, ge: float | None = None, le: float | None = None) -> Column:
    return Column(name, pl.Float64, unit, description, nullable=True, ge=ge, le=le)


def _missing(width: int, name: str = "n_missing_in_window", what: str = "a bar") -> Column:
    return Column(
        f"{name}_{width}",
        pl.Int64,
        "minutes",
        f"Expected minutes without {what} among the last {width}, this one included; null until the window is full",
        nullable=True,
        ge=0,
        le=width,
    )


def _percentage(name: str, description: str) -> Column:
    return _feature(name, "0 to 100", description, ge=0.0, le=100.0)


def _rating(name: str, description: str) -> Column:
    return _feature(name, "-1 to 1", description, ge=-1.0, le=1.0)


def _version() -> Column:
    return Column("feature_version", pl.String, "version", "Version of the group's meaning", isin=("v1",))


FEATURES_PRICE_1M_V1 = Table(
    name="features_price_1m_v1",
    zone="gold",
    key=("session", "con_id", "ts"),
    sort_by=("con_id", "ts"),
    columns=(
        c.SESSION,
        c.CON_ID,
        c.SYMBOL,
        c.TS,
        _feature("ret_1", "fraction", "Simple return of the close over 1 expected minute", ge=-1.0),
        _feature("ret_5", "fraction", "Simple return of the close over 5 expected minutes", ge=-1.0),
        _feature("ret_20", "fraction", "Simple return of the close over 20 expected minutes", ge=-1.0),
        _feature(
            "ma_5", "quote currency per share", "Mean close of the bars among the last 5 expected minutes", ge=0.0
        ),
        _feature(
            "ma_20", "quote currency per share", "Mean close of the bars among the last 20 expected minutes", ge=0.0
        ),
        _feature(
            "vol_20", "fraction per minute", "Sample standard deviation of ret_1 over the last 20 minutes", ge=0.0
        ),
        _missing(5),
        _missing(20),
        Column("feature_group", pl.String, "name", "Feature group", isin=("price_1m",)),
        _version(),
    ),
    grain="(session, con_id, ts)",
    description="Price features per minute bar; windows count expected minutes inside one session.",
    producer="features_price_1m_v1",
)

FEATURES_VOLUME_1M_V1 = Table(
    name="features_volume_1m_v1",
    zone="gold",
    key=("session", "con_id", "ts"),
    sort_by=("con_id", "ts"),
    columns=(
        c.SESSION,
        c.CON_ID,
        c.SYMBOL,
        c.TS,
        _feature("vol_ma_20", "shares", "Mean of the volumes present among the last 20 expected minutes", ge=0.0),
        _feature(
            "vol_zscore_20",
            "standard deviations",
            "Distance of the volume from vol_ma_20 in sample deviations; null where all volumes are equal",
        ),
        _feature(
            "vol_percentile_20",
            "fraction",
            "Share of the volumes present among the last 20 expected minutes that are not above this one",
            ge=0.0,
            le=1.0,
        ),
        _missing(20, "n_missing_volume_in_window", "a volume"),
        Column("feature_group", pl.String, "name", "Feature group", isin=("volume_1m",)),
        _version(),
    ),
    grain="(session, con_id, ts)",
    description="Volume features per minute bar; windows count expected minutes inside one session.",
    producer="features_volume_1m_v1",
)

TV_TECHNICALS_1D = Table(
    name="tv_technicals_1d",
    zone="gold",
    key=("session", "con_id"),
    columns=(
        c.SESSION,
        c.CON_ID,
        c.SYMBOL,
        _rating("recommend_all", "Mean of recommend_ma and recommend_other"),
        _rating("recommend_ma", "Mean vote of 15 moving averages"),
        _rating("recommend_other", "Mean vote of 11 oscillators"),
        _percentage("rsi", "Wilder's relative strength index over 14 bars"),
        _percentage("adx", "Average directional index over 14 bars"),
        _feature("ao", "quote currency per share", "Awesome oscillator: mean midpoint of 5 bars less that of 34"),
        _feature("cci20", "index", "Commodity channel index of the close over 20 bars"),
        _percentage("stoch_k", "Slow stochastic over 14 bars, smoothed over 3"),
        _percentage("stoch_d", "stoch_k, smoothed over 3"),
        _feature("macd", "quote currency per share", "Exponential mean of 12 closes less that of 26"),
        _feature("macd_signal", "quote currency per share", "Exponential mean of macd over 9 bars"),
        _feature("volatility_d", "percent", "True range of the bar against its low", ge=0.0),
        _feature("perf_w", "percent", "Close against the open of the newest bar at least 7 days older", ge=-100.0),
        _feature("perf_1m", "percent", "Close against the open of the newest bar at least 30 days older", ge=-100.0),
        Column("producer", pl.String, "enum", "Who computed the row", isin=("local", "tradingview")),
        Column("price_basis", pl.String, "enum", "What the prices behind it are adjusted for", isin=("splits",)),
        _version(),
    ),
    grain="(session, con_id)",
    description="Daily technicals with TradingView's definitions, as of the session, on split-adjusted prices.",
    producer="tv_technicals_1d",
)

LABELS_TWS_RETURNS = Table(
    name="labels_tws_returns",
    zone="gold",
    key=("session", "con_id", "ts", "horizon", "label_version"),
    sort_by=("con_id", "horizon", "ts"),
    columns=(
        Column("session", pl.Date, "date", "Session in which the label matures; no horizon leaves its bar's session"),
        c.CON_ID,
        c.SYMBOL,
        c.TS,
        Column("horizon", pl.Int64, "minutes", "Expected minutes that the label looks ahead", gt=0),
        Column("label_version", pl.String, "version", "Version of the label's meaning", isin=("v1",)),
        _feature(
            "forward_return",
            "fraction",
            "Simple return from this close to the close `horizon` minutes later; null where that minute is outside the "
            "session or has no bar",
            ge=-1.0,
        ),
        Column(
            "matures_ts",
            UTC_MICROS,
            "UTC instant",
            "Start of the bar whose close completes the label; null where the horizon leaves the session",
            nullable=True,
        ),
    ),
    grain="(session, con_id, ts, horizon, label_version)",
    description="Forward returns per minute bar and horizon, by the session in which they mature.",
    producer="labels_tws_returns",
)
