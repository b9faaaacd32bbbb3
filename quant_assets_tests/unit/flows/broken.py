"""A market that serves one instrument's later prices on another basis, without a word of a split."""

from functools import lru_cache

import polars as pl

from quant_assets.domain.features import GROUPS
from quant_assets.gateway.synthetic import SyntheticMarket
from quant_assets_tests.builders import CALENDAR
from quant_assets_tests.unit.flows.lab import SESSION

FACTOR, SHARES = 80.0, 4.0
BEFORE, BREAK = CALENDAR.previous(SESSION), SESSION
LATER = CALENDAR.following(SESSION)
DAYS = (BEFORE, BREAK, LATER)
TECHNICALS = GROUPS["tv_technicals_1d", "v1"]
PRICES = ("open", "high", "low", "close", "wap")


class Broken(SyntheticMarket):
    """The synthetic market, with one instrument's later prices on a basis that nothing explains."""

    def minute_bars(self, instrument, start, end, what, as_of):
        bars = super().minute_bars(instrument, start, end, what, as_of)
        opened = CALENDAR.hours(BREAK).opens_at
        return self._scaled(instrument, bars, pl.col("ts") >= opened)

    def daily_bars(self, instrument, first, last, what, as_of):
        bars = super().daily_bars(instrument, first, last, what, as_of)
        return self._scaled(instrument, bars, pl.col("session") >= BREAK)

    def _scaled(self, instrument, bars, later):
        if instrument.symbol != "QFID":
            return bars
        changed = [pl.when(later).then(pl.col(name) * FACTOR).otherwise(name).alias(name) for name in PRICES]
        volume = pl.when(later).then(pl.col("volume") / SHARES).otherwise("volume")
        return bars.with_columns(*changed, volume.cast(bars.schema["volume"]).alias("volume"))


@lru_cache(maxsize=1)
def broken_market() -> Broken:
    return Broken(7)
