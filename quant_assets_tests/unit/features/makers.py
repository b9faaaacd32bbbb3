"""Bars for the feature tests."""

import random
from datetime import date

import polars as pl

from quant_assets.domain.tables import CURATED_TWS_1D_BARS, CURATED_TWS_1M_BARS
from quant_assets_tests.builders import CALENDAR, SESSION, curated_bars

LAST = date(2024, 3, 15)


def with_volumes(volumes, *, session=SESSION, con_id=101):
    """Curated minutes with these volumes from the open on; "gap" is a minute without a bar, None a bar without volume."""
    bars = curated_bars([None if v == "gap" else 100.0 for v in volumes], session=session, con_id=con_id)
    there = [None if v is None else float(v) for v in volumes if v != "gap"]
    return bars.with_columns(pl.Series("volume", there, dtype=pl.Float64))


def daily_bars(closes, *, con_id=101, last=LAST, opens=None, spread=0.0, volumes=None):
    """The daily window as of `last`: one bar per close, the newest on `last`."""
    sessions = CALENDAR.window(last, len(closes))
    rows = [
        {
            "as_of_session": last,
            "session": session,
            "con_id": con_id,
            "symbol": f"S{con_id}",
            "open": opens[i] if opens else close,
            "high": max(close, opens[i] if opens else close) + spread,
            "low": min(close, opens[i] if opens else close) - spread,
            "close": close,
            "volume": float(volumes[i]) if volumes else 1000.0 + i,
            "adj_close": close,
            "coverage": 1.0,
            "dq_status": "ok",
            "dq_rules": None,
        }
        for i, (session, close) in enumerate(zip(sessions, map(float, closes), strict=True))
    ]
    return pl.DataFrame(
        rows, schema={name: dtype for name, dtype in CURATED_TWS_1D_BARS.schema.items() if name in rows[0]}
    )


def walk(n, seed, start=100.0, scale=0.02):
    """A daily random walk with ranges, gaps and volumes."""
    draw = random.Random(seed)
    closes, opens, volumes = [], [], []
    price = start
    for _ in range(n):
        opens.append(round(price * (1 + draw.gauss(0, scale / 3)), 2))
        price = max(0.5, price * (1 + draw.gauss(0, scale)))
        closes.append(round(price, 2))
        volumes.append(draw.randint(0, 10**6))
    return closes, opens, volumes


def random_minutes(seed, *, session=SESSION, con_id=101, missing=0.05):
    """A whole session of minutes with gaps."""
    draw = random.Random(seed)
    n = CALENDAR.hours(session).n_minutes
    closes, price = [], 100.0
    for _ in range(n):
        price = round(price * (1 + draw.gauss(0, 0.001)), 2)
        closes.append(None if draw.random() < missing else price)
    bars = curated_bars(closes, session=session, con_id=con_id)
    volumes = [float(draw.choice([0, 100, 100, 250, draw.randint(1, 10**7)])) for _ in range(bars.height)]
    return bars.with_columns(pl.Series("volume", volumes)).select(CURATED_TWS_1M_BARS.schema.names())
