"""Technicals from their definitions, with nothing but loops over one instrument's bars; None is "not yet"."""

from datetime import timedelta
from itertools import pairwise


def at(values, i):
    return values[i] if 0 <= i < len(values) else None


def window(values, i, n):
    """The n values that end with i, or None when one of them is not there."""
    part = values[i - n + 1 : i + 1] if i >= n - 1 else []
    return part if part and all(v is not None for v in part) else None


def over(values, n, function):
    return [function(part) if (part := window(values, i, n)) else None for i in range(len(values))]


def mean(part):
    return sum(part) / len(part)


def sma(values, n):
    return over(values, n, mean)


def wma(values, n):
    return over(values, n, lambda part: sum((k + 1) * v for k, v in enumerate(part)) / (n * (n + 1) / 2))


def smoothed(values, n, alpha):
    out, state, seen = [], None, []
    for v in values:
        if v is None:
            out.append(None)
            continue
        if state is None:
            seen.append(v)
            state = mean(seen) if len(seen) == n else None
        else:
            state = alpha * v + (1 - alpha) * state
        out.append(state)
    return out


def ema(values, n):
    return smoothed(values, n, 2 / (n + 1))


def rma(values, n):
    return smoothed(values, n, 1 / n)


def zipped(function, *series):
    return [function(*row) if all(v is not None for v in row) else None for row in zip(*series, strict=True)]


def rsi(close, n):
    change = [None] + [b - a for a, b in pairwise(close)]
    up = rma([None if c is None else max(c, 0.0) for c in change], n)
    down = rma([None if c is None else max(-c, 0.0) for c in change], n)
    return zipped(lambda u, d: 100.0 if d == 0 else 100 - 100 / (1 + u / d), up, down)


def true_range(high, low, close):
    return [None] + [
        max(high[i] - low[i], abs(high[i] - close[i - 1]), abs(low[i] - close[i - 1])) for i in range(1, len(close))
    ]


def directional(high, low, close, n):
    plus, minus = [None], [None]
    for i in range(1, len(close)):
        up, down = high[i] - high[i - 1], low[i - 1] - low[i]
        plus.append(up if up > down and up > 0 else 0.0)
        minus.append(down if down > up and down > 0 else 0.0)
    reach = rma(true_range(high, low, close), n)
    share = lambda m, r: 100 * m / r if r > 0 else None  # noqa: E731
    pdi, mdi = zipped(share, rma(plus, n), reach), zipped(share, rma(minus, n), reach)
    dx = zipped(lambda p, m: 0.0 if p + m == 0 else 100 * abs(p - m) / (p + m), pdi, mdi)
    return pdi, mdi, rma(dx, n)


def stochastic(close, high, low, n):
    top, bottom = over(high, n, max), over(low, n, min)
    return zipped(lambda c, t, b: 100 * (c - b) / (t - b) if t > b else None, close, top, bottom)


def cci(close, n):
    def one(part):
        centre = mean(part)
        deviation = mean([abs(v - centre) for v in part])
        return (part[-1] - centre) / (0.015 * deviation) if deviation > 1e-9 else None

    return over(close, n, one)


def ultimate(high, low, close):
    floor = [None] + [min(low[i], close[i - 1]) for i in range(1, len(close))]
    top = [None] + [max(high[i], close[i - 1]) for i in range(1, len(close))]
    pressure = zipped(lambda c, f: c - f, close, floor)
    reach = zipped(lambda t, f: t - f, top, floor)
    shares = [
        zipped(lambda p, r: p / r if r > 0 else None, over(pressure, n, sum), over(reach, n, sum)) for n in (7, 14, 28)
    ]
    return zipped(lambda a, b, c: 100 * (4 * a + 2 * b + c) / 7, *shares)


def midline(high, low, n):
    return zipped(lambda t, b: (t + b) / 2, over(high, n, max), over(low, n, min))


def vote(known, buy, sell):
    if known is None:
        return None
    return 1 if buy else (-1 if sell else 0)


def average(votes):
    there = [v for v in votes if v is not None]
    return mean(there) if there else None


def less(a, b, scale=1.0):
    """True where both are there and a < b beyond rounding."""
    return a is not None and b is not None and b - a > 1e-12 * scale


def technicals(bars):
    """bars: dicts with session, high, low, close, open, volume. Returns one dict per bar."""
    high, low, close = ([bar[name] for bar in bars] for name in ("high", "low", "close"))
    volume = [bar["volume"] for bar in bars]
    pdi, mdi, adx = directional(high, low, close, 14)
    middle = [(h + x) / 2 for h, x in zip(high, low, strict=True)]
    line = zipped(lambda a, b: a - b, ema(close, 12), ema(close, 26))
    k = sma(stochastic(close, high, low, 14), 3)
    strength = rsi(close, 14)
    k_rsi = sma(stochastic(strength, strength, strength, 14), 3)
    wr = stochastic(close, high, low, 14)
    v = {
        "rsi": strength,
        "adx": adx,
        "ao": zipped(lambda a, b: a - b, sma(middle, 5), sma(middle, 34)),
        "cci20": cci(close, 20),
        "stoch_k": k,
        "stoch_d": sma(k, 3),
        "macd": line,
        "macd_signal": ema(line, 9),
        "volatility_d": [
            100 * (t if t is not None else high[0] - low[0]) / x
            for t, x in zip(true_range(high, low, close), low, strict=True)
        ],
    }
    hull = zipped(lambda a, b: 2 * a - b, wma(close, 4), wma(close, 9))
    weighted = zipped(
        lambda a, b: a / b if b > 0 else None,
        over([c * q for c, q in zip(close, volume, strict=True)], 20, sum),
        over(volume, 20, sum),
    )
    lines = [f(close, n) for f in (sma, ema) for n in (10, 20, 30, 50, 100, 200)] + [wma(hull, 3), weighted]
    con, base, lead2 = midline(high, low, 9), midline(high, low, 26), midline(high, low, 52)
    lead1 = zipped(lambda a, b: (a + b) / 2, con, base)
    trend, e13 = ema(close, 50), ema(close, 13)
    mom = [None if i < 10 else close[i] - close[i - 10] for i in range(len(close))]
    d_rsi, uo = sma(k_rsi, 3), ultimate(high, low, close)
    rows = []
    for i, c in enumerate(close):
        now = {name: values[i] for name, values in v.items()}
        was = {name: at(values, i - 1) for name, values in v.items()}
        votes = [vote(x[i], less(x[i], c, c), less(c, x[i], c)) for x in lines]
        s1, s2 = at(lead1, i - 26) if i >= 26 else None, at(lead2, i - 26) if i >= 26 else None
        votes.append(
            vote(
                lead2[i],
                less(s2, s1) and less(s1, base[i]) and less(base[i], con[i]) and less(con[i], c),
                less(s1, s2) and less(base[i], s1) and less(con[i], base[i]) and less(c, con[i]),
            )
        )
        strong = over_(now["adx"], 20) and over_(now["adx"], was["adx"])
        ao, ao1, ao2 = now["ao"], was["ao"], at(v["ao"], i - 2)
        cross_up = ao is not None and ao1 is not None and ao > 1e-12 * c and not ao1 > 1e-12 * c
        cross_down = ao is not None and ao1 is not None and -ao > 1e-12 * c and not -ao1 > 1e-12 * c
        saucer_up = less(0, ao1, c) and less(0, ao, c) and less(ao1, ao, c) and less(ao1, ao2, c)
        saucer_down = less(ao1, 0, c) and less(ao, 0, c) and less(ao, ao1, c) and less(ao2, ao1, c)
        bull, bear = (None, None) if e13[i] is None else (high[i] - e13[i], low[i] - e13[i])
        before = i >= 1 and e13[i - 1] is not None
        bull1, bear1 = (high[i - 1] - e13[i - 1], low[i - 1] - e13[i - 1]) if before else (None, None)
        others = [
            turning(now["rsi"], was["rsi"], 30, 70),
            leaving(now["stoch_k"], now["stoch_d"], was["stoch_d"]),
            turning(now["cci20"], was["cci20"], -100, 100),
            vote(now["adx"], strong and over_(pdi[i], mdi[i]), strong and over_(mdi[i], pdi[i])),
            vote(ao1, cross_up or saucer_up, cross_down or saucer_down),
            vote(at(mom, i - 1), less(at(mom, i - 1), mom[i], c), less(mom[i], at(mom, i - 1), c)),
            vote(
                now["macd_signal"], less(now["macd_signal"], now["macd"], c), less(now["macd"], now["macd_signal"], c)
            ),
            vote(
                trend[i],
                less(c, trend[i], c)
                and over_(20, k_rsi[i])
                and over_(20, d_rsi[i])
                and over_(k_rsi[i], d_rsi[i])
                and at(d_rsi, i - 1) is not None,
                less(trend[i], c, c)
                and over_(k_rsi[i], 80)
                and over_(d_rsi[i], 80)
                and over_(d_rsi[i], k_rsi[i])
                and at(d_rsi, i - 1) is not None,
            ),
            turning(
                None if wr[i] is None else wr[i] - 100,
                None if i == 0 or wr[i - 1] is None else wr[i - 1] - 100,
                -80,
                -20,
            ),
            vote(
                trend[i],
                less(trend[i], c, c) and less(bear, 0, c) and less(bear1, bear, c),
                less(c, trend[i], c) and less(0, bull, c) and less(bull, bull1, c),
            ),
            vote(uo[i], over_(uo[i], 70), over_(30, uo[i])),
        ]
        now["recommend_ma"], now["recommend_other"] = average(votes), average(others)
        now["recommend_all"] = average([now["recommend_ma"], now["recommend_other"]])
        now["perf_w"], now["perf_1m"] = performance(bars, i, 7), performance(bars, i, 30)
        rows.append(now)
    return rows


def over_(a, b):
    return a is not None and b is not None and a - b > 1e-9


def is_all(*values):
    return all(v is not None for v in values)


def turning(now, before, low, high):
    if before is None:
        return None
    return vote(before, over_(low, now) and over_(now, before), over_(now, high) and over_(before, now))


def leaving(k, d, d_before):
    if d_before is None:
        return None
    low = over_(20, k) and over_(20, d) and over_(k, d)
    return vote(d_before, low, over_(k, 80) and over_(d, 80) and over_(d, k))


def performance(bars, i, days):
    limit = bars[i]["session"] - timedelta(days=days)
    old = [bar for bar in bars[: i + 1] if bar["session"] <= limit]
    return 100 * (bars[i]["close"] / old[-1]["open"] - 1) if old else None
