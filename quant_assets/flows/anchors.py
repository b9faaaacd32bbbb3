"""Words that somebody acted on and that are not on record any more, as the tables that were made with them tell.

The chain of `overrides.jsonl` and the audit log hold each other, and both can be cut at the end together. What was made
meanwhile holds them, too: a table's footer and manifest name the id of all words of its session, or of those on breaks
of its daily window. Words are only ever appended, so such an id is that of the words up to some line; one that is not
tells of words that were taken away.
"""

from collections.abc import Iterator
from datetime import date

from quant_assets.control.audit import numbered
from quant_assets.domain.tables import (
    ADJUSTMENT_FACTORS,
    BAR_ACCOUNTING,
    CURATED_TWS_1D_BARS,
    CURATED_TWS_1M_BARS,
    QUARANTINE_TWS_BARS,
)
from quant_assets.errors import CorruptFileError
from quant_assets.flows.confirming import BREAKS, EVENTS
from quant_assets.flows.words import Doubt, Line
from quant_assets.flows.work import Work
from quant_assets.lakehouse.content import combined_id
from quant_assets.lakehouse.footer import Footer

_MADE_WITH_WORDS = (
    CURATED_TWS_1M_BARS, QUARANTINE_TWS_BARS, BAR_ACCOUNTING, ADJUSTMENT_FACTORS, CURATED_TWS_1D_BARS,
)  # fmt: skip
_INPUT = "overrides"


def doubts(work: Work) -> list[Doubt]:
    """Return everything that is wrong with the words, and the sessions of which words were taken away."""
    found = work.words.doubts()
    return found if any(one.is_tampering for one in found) else [*found, *_lost(work)]


def _lost(work: Work) -> Iterator[Doubt]:
    """Yield one doubt per session of which words were taken away."""
    told: dict[str, dict[tuple[str, str, str], str]] = {}
    for name, footer in _footers(work):
        for source in (_INPUT, BREAKS):
            if words := footer.inputs.get(source):
                used = (source, footer.inputs.get("lookback", "1"), words)
                told.setdefault(footer.partition, {}).setdefault(used, name)
    # after the footers: what is said and acted on meanwhile is in the lines, and in no footer that was read
    lines = [line for _, line in numbered(work.layout.overrides)]
    for session, used_there in sorted(told.items()):
        for (source, lookback, words), name in used_there.items():
            if words not in _ids(_about(work, lines, source, session, int(lookback))):
                what = f"{name}[{session}] was made with words on its rows that are not there any more"
                yield Doubt(0, "cut", what, is_tampering=True)
                break


def _about(work: Work, lines: list[Line], source: str, session: str, lookback: int) -> list[str]:
    """Return the hashes of the words that an input of a session's table stands for."""
    if source == _INPUT:
        return [line["hash"] for line in lines if line.get("session") == session]
    held = {str(day) for day in work.calendar.window(date.fromisoformat(session), lookback)}
    return [line["hash"] for line in lines if line.get("event") in EVENTS and line.get("session") in held]


def _ids(hashes: list[str]) -> set[str]:
    return {combined_id(hashes[:n]) for n in range(1, len(hashes) + 1)}


def _footers(work: Work) -> Iterator[tuple[str, Footer]]:
    """Yield table and footer of everything that was ever made, maybe with words, as far as it is kept."""
    for table in _MADE_WITH_WORDS:
        store = work.lake.curated
        try:
            footers = [entry.footer for entry in store.manifest(table).entries()]
            footers += [footer for one in store.partitions(table) if (footer := store.footer(table, one))]
        except CorruptFileError:
            continue  # the data audit names it
        yield from ((table.name, footer) for footer in footers)
