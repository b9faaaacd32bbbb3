"""The screen, from the lakehouse to the candidates of one session and profile."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from quant_assets.connectors.scanners import Scanner
from quant_assets.domain.candidates import screen
from quant_assets.domain.screens import Condition, judge
from quant_assets.domain.tables import CURATED_TWS_1D_BARS, INSTRUMENTS, UNIVERSE
from quant_assets.flows.reader import Reader
from quant_assets.flows.screens import Gathered, gather, inputs_of
from quant_assets.lakehouse.layout import Partition
from quant_assets.settings.manifest import Profile


@dataclass(frozen=True, slots=True)
class Screened:
    """Candidates, the content ids that they were computed from, and the newest knowledge among those."""

    frame: pl.DataFrame
    inputs: dict[str, str]
    watermark: str


def screen_session(
    store: Reader,
    session: date,
    profile_name: str,
    profile: Profile,
    screens: Mapping[str, Scanner] | None = None,
) -> Screened:
    """Judge the universe of a session by a profile's screen.

    Args:
        store: where the tables are.
        session: the session that is judged.
        profile_name: whose screen it is.
        profile: its configuration.
        screens: name → scanner over the lakehouse, whose conditions the features of the session have to keep.

    Raises:
        NotPublishedError: the universe, the instruments or the daily bars of the session are missing.
        NoCandidatesError: nobody was accepted.
    """
    partition = Partition(session)
    tables = (UNIVERSE, INSTRUMENTS, CURATED_TWS_1D_BARS)
    frames = {table.name: store.read(table, partition) for table in tables}
    footers = {table.name: store.footer(table, partition) for table in tables}
    judged, read = screened_by(store, session, screens or {})
    candidates = screen(
        frames["curated_tws_1d_bars"],
        frames["universe"],
        frames["instruments"],
        profile_name,
        session,
        profile.selection,
        profile.data,
        judged,
    )
    return Screened(
        candidates,
        {f"{name}|{session}": footer.content_id for name, footer in footers.items() if footer} | read.inputs,
        max([read.watermark, *(max(footer.watermark, footer.known_until) for footer in footers.values() if footer)]),
    )


def screened_by(store: Reader, session: date, screens: Mapping[str, Scanner]) -> tuple[pl.DataFrame | None, Gathered]:
    """Return what the screens have against each instrument of the daily bars, and what was read for it."""
    if not screens:
        return None, Gathered(pl.DataFrame())
    conditions = _conditions(screens)
    gathered = gather(store, session, _fields(conditions))
    return judge(gathered.frame, conditions), gathered


def screens_inputs(store: Reader, session: date, screens: Mapping[str, Scanner]) -> dict[str, str]:
    """Return the content ids of what `screened_by` reads; not a row is read for it."""
    return inputs_of(store, session, _fields(_conditions(screens))) if screens else {}


def _conditions(screens: Mapping[str, Scanner]) -> list[Condition]:
    return [
        replace(condition, name=f"screen {name}/{condition.name}")
        for name, scanner in screens.items()
        for condition in scanner.conditions()
    ]


def _fields(conditions: Iterable[Condition]) -> list[str]:
    return sorted({one.field for one in conditions})
