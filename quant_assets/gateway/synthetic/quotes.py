"""Quoted prices derived from the traded ones: half a spread around the middle, no volumes."""

import numpy as np

from quant_assets.gateway.synthetic.blocks import Bars

_SIDES = {"MIDPOINT": (0.0, 0.0), "BID": (-1.0, -1.0), "ASK": (1.0, 1.0), "BID_ASK": (-1.0, 1.0)}
_HALF_SPREAD_TICKS = 1


def quoted(bars: Bars, what: str, tick: float) -> Bars:
    """Return bars of a quote series; volume, wap and count are -1.

    BID_ASK carries the average bid as open, the highest ask as high, the lowest bid as low, the average ask as close.
    """
    down, up = (side * _HALF_SPREAD_TICKS * tick for side in _SIDES[what])
    low, high = np.maximum(np.round(bars.low + down, 2), tick), np.round(bars.high + up, 2)
    if what == "BID_ASK":
        middle = (bars.open + bars.close) / 2
        ends = (np.round(middle + down, 3), np.round(middle + up, 3))
    else:
        ends = (np.round(bars.open + down, 2), np.round(bars.close + down, 2))
    open_, close = (np.clip(x, low, high) for x in ends)
    missing = np.full(bars.open.shape, -1.0)
    return Bars(open_, high, low, close, missing, missing, missing.astype(np.int64))
