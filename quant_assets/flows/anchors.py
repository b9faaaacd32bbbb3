"""Words that somebody acted on and that are not on record any more, as the tables that were made with them tell.

The chain of `overrides.jsonl` and the audit log hold each other, and both can be cut at the end together. What was made
meanwhile holds them, too: a table's footer and manifest name the id of all words of its session. Words are only ever
appended, so such an id is that of the words up to some line; one that is not tells of words that were taken away.
"""

from collections.abc import Iterator

from quant_assets.control.audit import numbered
from quant_assets.domain.tables import BAR_ACCOUNTING, CURATED_TWS_1M_BARS, QUARANTINE_TWS_BARS
from quant_assets.errors import CorruptFileError
from quant_assets.flows.words import Doubt
from quant_assets.flows.work import Work
from quant_assets.lakehouse.content import combined_id

_MADE_WITH_WORDS = (CURATED_TWS_1M_BARS, QUARANTINE_TWS_BARS, BAR_ACCOUNTING)
_INPUT = "overrides"


def doubts(work: Work) -> list[Doubt]:
    """Return everything that is wrong with the words, and the sessions of which words were taken away."""
    found = work.words.doubts()
    return found if any(one.is_tampering for one in found) else [*found, *_lost(work)]


def _lost(work: Work) -> Iterator[Doubt]:
    said: dict[str, list[str]] = {}
    for _, line in numbered(work.layout.overrides):
        said.setdefault(str(line.get("session")), []).append(line["hash"])
    told: dict[str, dict[str, str]] = {}
    for name, session, words in _used(work):
        told.setdefault(session, {}).setdefault(words, name)
    for session, used in sorted(told.items()):
        hashes = said.get(session, [])
        known = {combined_id(hashes[:n]) for n in range(1, len(hashes) + 1)}
        if lost := next((name for words, name in used.items() if words not in known), None):
            what = f"{lost}[{session}] was made with words on its rows that are not there any more"
            yield Doubt(0, "cut", what, is_tampering=True)


def _used(work: Work) -> Iterator[tuple[str, str, str]]:
    """Yield table, session and id of the words of everything that was ever made with any, as far as it is kept."""
    for table in _MADE_WITH_WORDS:
        store = work.lake.curated
        try:
            footers = [entry.footer for entry in store.manifest(table).entries()]
            footers += [footer for one in store.partitions(table) if (footer := store.footer(table, one))]
        except CorruptFileError:
            continue  # the data audit names it
        for footer in footers:
            if words := footer.inputs.get(_INPUT):
                yield table.name, footer.partition, words
