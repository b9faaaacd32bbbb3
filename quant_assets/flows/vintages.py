"""Daily history as sessions of one run need it, one after the other."""

from collections.abc import Sequence
from datetime import date

import polars as pl

from quant_assets.domain.tables import RAW_TWS_DAILY_BARS
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition


class Vintages:
    """Reads vintages; what two sessions in a row share is read once.

    What a session does not need is let go: its neighbours need almost the same, and a range of years would hold all
    history at once. What is held is what the id of its batches names: a batch that another process adds between two
    sessions is in the second one's input, and so in its rows.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._held: dict[date, tuple[str, pl.DataFrame]] = {}

    def read(self, near: Sequence[date], since: date | None = None) -> pl.DataFrame:
        """Return the rows of the vintages near a session, of sessions from `since` on where it is given."""
        self._held = {vintage: self._held[vintage] for vintage in near if vintage in self._held}
        frames = [self._rows(vintage) for vintage in near]
        kept = [frame.filter(pl.col("session") >= since) for frame in frames] if since else frames
        return pl.concat(kept) if kept else RAW_TWS_DAILY_BARS.empty()

    def _rows(self, vintage: date) -> pl.DataFrame:
        raw, partition = self._work.lake.raw, Partition(vintage)
        batches = raw.input_id(RAW_TWS_DAILY_BARS, partition)  # before the rows: what comes between is read again
        if vintage not in self._held or self._held[vintage][0] != batches:
            self._held[vintage] = batches, raw.read(RAW_TWS_DAILY_BARS, partition)
        return self._held[vintage][1]
