"""Damaged and lost files: how each is mended, what may not be built on, and the moving aside of what can be built."""

from collections.abc import Collection, Sequence
from datetime import date

from quant_assets.control.locks import hold
from quant_assets.domain.tables import ALL, RAW_TWS_BARS, Table
from quant_assets.errors import CorruptFileError, DamagedSourcesError
from quant_assets.flows.work import Work
from quant_assets.lakehouse.damage import OBSERVED, Damage, damages
from quant_assets.lakehouse.layout import Partition

_WAIT_S = 10.0
_BACKUP = "restore it from a backup, to the same path; docs/runbook.md, A file is unreadable, altered or lost, has more"
_LOST = (
    "restore it from a backup, to the same path; without one quant repair --sessions {session} fetches again what TWS "
    "still serves, the past (as_of, tags) of before that is gone for good, and quant lake reindex {table} accepts it"
)


def mend_of(damage: Damage) -> str:
    """Return what mends a file: a command where it can be computed again, a backup where it was observed."""
    if damage.kind == "gone":
        return _LOST.format(session=damage.partition.session, table=damage.table.name)
    if damage.kind == "foreign":
        return "move it away"
    if damage.table.zone in OBSERVED:
        return _BACKUP
    return f"quant lake rebuild --sessions {damage.partition.session}"


def check_sources(work: Work, sessions: Sequence[date]) -> None:
    """Hash everything that silver and gold of some sessions are computed from.

    Raises:
        DamagedSourcesError: a file of bronze or discovery is lost, or does not hold what was committed.
    """
    observed = [table for table in ALL if table.zone in OBSERVED]
    inside = set(sessions)

    def matters(table: Table, partition: Partition) -> bool:
        return table is not RAW_TWS_BARS or partition.session in inside

    if found := damages(work.lake, observed, matters, progress=work.progress):
        mends = " ".join(dict.fromkeys(f"Mend: {mend_of(one)}." for one in found))
        raise DamagedSourcesError("Observations are lost or altered", [str(one) for one in found], mends)


def damaged_results(work: Work, sessions: Collection[date], tables: Sequence[Table] = ALL) -> list[Damage]:
    """Return the files of silver and gold of some sessions that do not hold what was committed; all are hashed."""
    derived = [table for table in tables if table.zone not in OBSERVED]
    inside = set(sessions)
    return damages(work.lake, derived, lambda _, partition: partition.session in inside, progress=work.progress)


def set_aside(work: Work, found: Sequence[Damage]) -> list[Damage]:
    """Move damaged files of silver and gold out of the lakehouse, into data/aside, so that they are computed again.

    Each is judged anew under the lock of its writers: what was published since is sound, and stays. Returns what went.

    Raises:
        LockHeldError: somebody is writing the table.
    """
    return [one for one in found if _set_aside(work, one)]


def _set_aside(work: Work, one: Damage) -> bool:
    with hold(f"{one.table.name}.commit", work.layout.locks, wait_s=_WAIT_S, owner={"run": work.run_id}):
        if not damages(work.lake, [one.table], lambda _, partition: partition == one.partition):
            return False
        target = work.layout.set_aside(one.path, work.clock.now())
        target.parent.mkdir(parents=True, exist_ok=True)
        (work.layout.data / one.path).replace(target)
    work.audit.record("set_aside", run_id=work.run_id, status="warn", path=one.path, why=one.why)
    return True


def forgotten(work: Work, table: Table) -> list[str]:
    """Return the observed files of a table that are lost, and put on record that its manifest forgets them."""
    if table.zone not in OBSERVED:
        return []
    store = work.lake.raw if table.append_only else work.lake.curated
    try:
        paths = [entry.path for entry in store.manifest(table).gone()]
    except CorruptFileError:
        return []  # what cannot be read tells of nothing
    if paths:
        work.audit.record("loss_accepted", run_id=work.run_id, status="warn", table=table.name, paths=paths)
    return paths
