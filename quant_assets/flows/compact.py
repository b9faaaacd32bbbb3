"""Month copies of the lakehouse: which are due, and making them one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass

from quant_assets.domain.tables import ALL
from quant_assets.errors import CorruptCopyError, CorruptFileError, UnknownNameError
from quant_assets.flows.work import Work
from quant_assets.lakehouse.compaction import Compacted, Month, compact, month_of_copy, months, prove


@dataclass(frozen=True, slots=True)
class Proof:
    """The outcome of comparing one copy with its session files."""

    table: str
    month: str
    equal: bool
    why: str


def due_months(work: Work, month: str = "") -> list[Month]:
    """Return the months whose copy is absent, behind or stale, by table; of one month when it is named.

    The copies of a named month are proven, and one that differs is due as well.

    Raises:
        UnknownNameError: nothing is published in the month.
    """
    found = [one for table in ALL for one in months(work.lake.curated, table)]
    known = sorted({one.month for one in found})
    if month and month not in known:
        raise UnknownNameError("month", month, known, "with published sessions")
    asked = [one for one in found if one.sessions and month in ("", one.month)]
    return [one for one in asked if one.is_due or (month and not _proof(work, one).equal)]


def compact_months(work: Work, due: Sequence[Month]) -> list[Compacted]:
    """Make copies, each proven equal before it takes its place.

    Raises:
        CorruptFileError, CorruptCopyError, DiskFullError: see `compact`; copies that were made before stand.
    """
    made = []
    with work.progress.task("compact", total=len(due)) as task:
        for one in due:
            made.append(compact(work.lake.curated, one.table, one.month))
            work.audit.record(
                "compacted", run_id=work.run_id, rows=made[-1].rows, status="ok", table=one.table.name, month=one.month
            )
            task.advance(note=f"{one.table.name} {one.month}")
    return made


def prove_copies(work: Work) -> list[Proof]:
    """Compare every copy that serves reads with its session files, value by value."""
    return [_proof(work, one) for table in ALL for one in months(work.lake.curated, table) if one.state != "absent"]


def _proof(work: Work, one: Month) -> Proof:
    store = work.lake.curated
    index = store.copies.index(one.table, one.month)
    if index is None or one.state == "stale":
        return Proof(one.table.name, one.month, True, f"not served: {one.why}")
    try:
        prove(store, one.table, store.layout.copy(one.table, one.month), dict(index.sources))
    except CorruptCopyError as error:
        now = month_of_copy(store, one.table, store.layout.copy(one.table, one.month))
        if now.state == "stale" or store.copies.index(one.table, one.month) != index:
            return _proof(work, now)  # a session was published while the copy was proven, or the copy was made anew
        return Proof(one.table.name, one.month, False, error.cause)
    except CorruptFileError as error:
        return Proof(one.table.name, one.month, False, f"{work.layout.relative(error.path)}: {error.cause}")
    return Proof(one.table.name, one.month, True, f"{len(index.sources)} sessions are equal")
