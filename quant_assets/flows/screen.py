"""The screen, from the lakehouse to the candidates of one session and profile."""

from dataclasses import dataclass
from datetime import date
from typing import Protocol

import polars as pl

from quant_assets.domain.candidates import screen
from quant_assets.domain.tables import CURATED_TWS_1D_BARS, INSTRUMENTS, UNIVERSE, Table
from quant_assets.lakehouse.footer import Footer
from quant_assets.lakehouse.layout import Partition
from quant_assets.settings.manifest import Profile


class Reader(Protocol):
    """What the alpha side asks of a store."""

    def read(self, table: Table, partition: Partition) -> pl.DataFrame:
        """Return one published partition."""
        ...

    def footer(self, table: Table, partition: Partition) -> Footer | None:
        """Return what stands in a partition, or None."""
        ...


@dataclass(frozen=True, slots=True)
class Screened:
    """Candidates, the content ids that they were computed from, and the newest knowledge among those."""

    frame: pl.DataFrame
    inputs: dict[str, str]
    watermark: str


def screen_session(store: Reader, session: date, profile_name: str, profile: Profile) -> Screened:
    """Judge the universe of a session by a profile's screen.

    Raises:
        NotPublishedError: the universe, the instruments or the daily bars of the session are missing.
        NoCandidatesError: nobody was accepted.
    """
    partition = Partition(session)
    tables = (UNIVERSE, INSTRUMENTS, CURATED_TWS_1D_BARS)
    frames = {table.name: store.read(table, partition) for table in tables}
    footers = {table.name: store.footer(table, partition) for table in tables}
    candidates = screen(
        frames["curated_tws_1d_bars"],
        frames["universe"],
        frames["instruments"],
        profile_name,
        session,
        profile.selection,
        profile.data,
    )
    return Screened(
        candidates,
        {f"{name}|{session}": footer.content_id for name, footer in footers.items() if footer},
        max((max(footer.watermark, footer.known_until) for footer in footers.values() if footer), default=""),
    )
