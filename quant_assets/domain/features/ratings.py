"""TradingView's technical ratings: fifteen moving averages and eleven oscillators vote buy, sell or neutral."""

import polars as pl

from quant_assets.domain import indicators as ta

_NIL = 1e-12
"""Prices closer to each other than this share of the close are equal: rounding has no vote."""

_HIGH, _LOW, _CLOSE = pl.col("high"), pl.col("low"), pl.col("close")


def ratings(bars: pl.DataFrame) -> pl.DataFrame:
    """Add recommend_ma, recommend_other and recommend_all, each in [-1, 1].

    Every voter says 1 (buy), -1 (sell) or 0 (neutral), and nothing before it can be computed. recommend_ma is the mean
    of the moving averages' votes, recommend_other that of the oscillators', recommend_all the mean of those two, or the
    one that is there. The rules are those of TradingView's help page on Technical Ratings and of its published library
    TechnicalRating, version 3.

    Args:
        bars: con_id, session, high, low, close, volume and the columns of `technicals_1d` that stand on one
            indicator; sorted by con_id and session.

    Returns:
        The same rows and columns, with three more.
    """
    averages, oscillators = _average_votes(), _oscillator_votes()
    voted = bars.with_columns(_helpers()).with_columns(
        vote.over("con_id").alias(name) for name, vote in (averages | oscillators).items()
    )
    summed = voted.with_columns(
        pl.mean_horizontal(*averages).alias("recommend_ma"), pl.mean_horizontal(*oscillators).alias("recommend_other")
    )
    total = pl.mean_horizontal("recommend_ma", "recommend_other").alias("recommend_all")
    return summed.with_columns(total).select(*bars.columns, "recommend_ma", "recommend_other", "recommend_all")


def _helpers() -> list[pl.Expr]:
    """Return what several votes look at."""
    plus, minus, _ = ta.directional(_HIGH, _LOW, _CLOSE, 14)
    rsi = pl.col("rsi")
    named = {
        "_plus": plus,
        "_minus": minus,
        "_trend": ta.ema(_CLOSE, 50),
        "_base13": ta.ema(_CLOSE, 13),
        "_stoch_rsi": ta.sma(ta.stochastic(rsi, rsi, rsi, 14), 3),
        "_conversion": ta.middle_of_range(_HIGH, _LOW, 9),
        "_base": ta.middle_of_range(_HIGH, _LOW, 26),
        "_lead2": ta.middle_of_range(_HIGH, _LOW, 52),
    }
    return [expression.over("con_id").alias(name) for name, expression in named.items()]


def _average_votes() -> dict[str, pl.Expr]:
    widths = (10, 20, 30, 50, 100, 200)
    lines = {f"_sma{n}": ta.sma(_CLOSE, n) for n in widths} | {f"_ema{n}": ta.ema(_CLOSE, n) for n in widths}
    lines |= {"_hma9": ta.hma(_CLOSE, 9), "_vwma20": ta.vwma(_CLOSE, pl.col("volume"), 20)}
    votes = {name: _vote(line, _above(_CLOSE, line), _above(line, _CLOSE)) for name, line in lines.items()}
    return votes | {"_ichimoku": _ichimoku()}


def _ichimoku() -> pl.Expr:
    """Let the cloud vote: its spans are those drawn under the bar, that is computed 26 bars before."""
    conversion, base, lead2 = pl.col("_conversion"), pl.col("_base"), pl.col("_lead2")
    span1, span2 = ((conversion + base) / 2).shift(26), lead2.shift(26)
    return _vote(
        lead2,
        (span1 > span2) & (base > span1) & (conversion > base) & (_CLOSE > conversion),
        (span1 < span2) & (base < span1) & (conversion < base) & (_CLOSE < conversion),
    )


def _oscillator_votes() -> dict[str, pl.Expr]:
    rsi, cci, adx = pl.col("rsi"), pl.col("cci20"), pl.col("adx")
    strong = (adx > 20) & (adx > adx.shift(1))  # noqa: PLR2004 - TradingView's threshold
    line, signal = pl.col("macd"), pl.col("macd_signal")
    momentum = _CLOSE - _CLOSE.shift(10)
    williams = ta.stochastic(_CLOSE, _HIGH, _LOW, 14) - 100
    ultimate = ta.ultimate(_HIGH, _LOW, _CLOSE)
    return {
        "_rsi": _turning(rsi, 30, 70),
        "_stoch": _leaving(pl.col("stoch_k"), pl.col("stoch_d")),
        "_cci": _turning(cci, -100, 100),
        "_adx": _vote(adx, strong & (pl.col("_plus") > pl.col("_minus")), strong & (pl.col("_plus") < pl.col("_minus"))),
        "_ao": _awesome(),
        "_momentum": _vote(momentum.shift(1), _above(momentum, momentum.shift(1)), _above(momentum.shift(1), momentum)),
        "_macd": _vote(signal, _above(line, signal), _above(signal, line)),
        "_stochastic_rsi": _stochastic_rsi(),
        "_williams": _turning(williams, -80, -20),
        "_power": _power(),
        "_ultimate": _vote(ultimate, ultimate > 70, ultimate < 30),  # noqa: PLR2004
    }


def _turning(x: pl.Expr, low: float, high: float) -> pl.Expr:
    """Buy what is low and rises, sell what is high and falls."""
    before = x.shift(1)
    return _vote(before, (x < low) & (x > before), (x > high) & (x < before))


def _leaving(k: pl.Expr, d: pl.Expr, buys: pl.Expr | None = None, sells: pl.Expr | None = None) -> pl.Expr:
    """Buy where both lines are low and the fast one leads, sell where both are high and it trails."""
    everywhere = pl.lit(value=True)
    low = (k < 20) & (d < 20) & (k > d)  # noqa: PLR2004 - the edges of the scale
    high = (k > 80) & (d > 80) & (k < d)  # noqa: PLR2004
    buy, sell = low & (everywhere if buys is None else buys), high & (everywhere if sells is None else sells)
    return _vote(d.shift(1), buy, sell)


def _awesome() -> pl.Expr:
    """Let the awesome oscillator vote: it crosses zero, or dips and turns on one side of it (a saucer)."""
    now, before = pl.col("ao"), pl.col("ao").shift(1)
    earlier, nil = pl.col("ao").shift(2), 0 * _CLOSE
    is_up, was_up = _above(now, nil), _above(before, nil)
    is_down, was_down = _above(nil, now), _above(nil, before)
    return _vote(
        before,
        (is_up & ~was_up) | (is_up & was_up & _above(now, before) & _above(earlier, before)),
        (is_down & ~was_down) | (is_down & was_down & _above(before, now) & _above(before, earlier)),
    )


def _stochastic_rsi() -> pl.Expr:
    trend, k = pl.col("_trend"), pl.col("_stoch_rsi")
    vote = _leaving(k, ta.sma(k, 3), buys=_above(trend, _CLOSE), sells=_above(_CLOSE, trend))
    return pl.when(trend.is_not_null()).then(vote.fill_null(0.0))


def _power() -> pl.Expr:
    """Let bulls and bears vote: against the trend, their power weakens."""
    trend, bull, bear = pl.col("_trend"), _HIGH - pl.col("_base13"), _LOW - pl.col("_base13")
    nil = 0 * _CLOSE
    return _vote(
        trend,
        _above(_CLOSE, trend) & _above(nil, bear) & _above(bear, bear.shift(1)),
        _above(trend, _CLOSE) & _above(bull, nil) & _above(bull.shift(1), bull),
    )


def _above(one: pl.Expr, other: pl.Expr) -> pl.Expr:
    return (one - other) > _NIL * _CLOSE


def _vote(known: pl.Expr, buy: pl.Expr, sell: pl.Expr) -> pl.Expr:
    return pl.when(known.is_not_null()).then(pl.when(buy).then(1.0).when(sell).then(-1.0).otherwise(0.0))
