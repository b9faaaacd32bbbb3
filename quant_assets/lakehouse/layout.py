"""Every path of the data directory is built here; what runs and backtests hold is named in `domain.run_files`."""

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

from quant_assets.domain.tables import Table
from quant_assets.settings.names import safe_name


class Partition(NamedTuple):
    """One partition of a table: a session (or vintage), and a profile in the alpha cycle."""

    session: date
    profile: str = ""

    @property
    def key(self) -> str:
        """The Dagster partition key: `2024-01-02`, or `default|2024-01-02`."""
        return f"{self.profile}|{self.session}" if self.profile else str(self.session)

    @classmethod
    def from_key(cls, key: str) -> "Partition":
        """Parse a Dagster partition key."""
        profile, _, session = key.rpartition("|")
        return cls(date.fromisoformat(session), profile)


def locks_beside(run: Path) -> Path:
    """Return the directory of the lock of a run's or a backtest's directory: no file of it, and gone with no run."""
    return run.parent / ".locks"


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths below one data directory."""

    data: Path

    @property
    def lakehouse(self) -> Path:
        """Root of all tables."""
        return self.data / "lakehouse"

    @property
    def metadata(self) -> Path:
        """Manifests, the catalog and locks."""
        return self.lakehouse / "_metadata"

    @property
    def aside(self) -> Path:
        """What was moved out of the lakehouse because it is damaged."""
        return self.data / "aside"

    def set_aside(self, relative: str, at: datetime) -> Path:
        """Return where a file is moved to that was found damaged at an instant."""
        return self.aside / f"{relative}.{at:%Y%m%dT%H%M%S%f}"

    @property
    def staging(self) -> Path:
        """What waits for its session to close."""
        return self.lakehouse / "staging"

    @property
    def history(self) -> Path:
        """Dagster's own: runs, events, schedules and logs."""
        return self.data / ".dagster"

    @property
    def catalog(self) -> Path:
        """Summary of every table."""
        return self.metadata / "catalog.json"

    @property
    def catalog_state(self) -> Path:
        """What the last summary saw of each table; it can be deleted."""
        return self.metadata / "catalog_state.json"

    @property
    def data_audit(self) -> Path:
        """What the last data audit saw in quarantine."""
        return self.metadata / "data_audit.json"

    @property
    def artifacts(self) -> Path:
        """Runs and the audit log."""
        return self.data / "artifacts"

    @property
    def audit(self) -> Path:
        """The audit log."""
        return self.artifacts / "audit.jsonl"

    @property
    def overrides(self) -> Path:
        """What people said about quarantined rows."""
        return self.metadata / "overrides.jsonl"

    @property
    def runs(self) -> Path:
        """All run directories."""
        return self.artifacts / "runs"

    @property
    def cache(self) -> Path:
        """Results of stages of the alpha cycle, by what they were made from."""
        return self.artifacts / "cache"

    @property
    def backtests(self) -> Path:
        """All backtests."""
        return self.artifacts / "backtests"

    @property
    def locks(self) -> Path:
        """Lock files and their holder files."""
        return self.metadata / "locks"

    @property
    def tags(self) -> Path:
        """Names of frozen states."""
        return self.metadata / "tags"

    def tag(self, name: str) -> Path:
        """Return the file of one tag."""
        return self.tags / f"{safe_name('tag', name)}.json"

    @property
    def past(self) -> Path:
        """Where readers of the past work; each removes what is its own."""
        return self.metadata / "past"

    @property
    def alias_key(self) -> Path:
        """The secret that account numbers become aliases with."""
        return self.metadata / "account-alias.key"

    def pacing(self, *, is_replay: bool) -> Path:
        """Return the log of requests that pacing counts; a replay's are none of TWS's."""
        return self.metadata / ("pacing.replay.jsonl" if is_replay else "pacing.jsonl")

    def run(self, run_id: str) -> Path:
        """Return one run's directory."""
        return self.runs / safe_name("run id", run_id)

    def dvc(self, run_id: str) -> Path:
        """Return where DVC pointers to one run's files are written."""
        return self.artifacts / "dvc" / safe_name("run id", run_id)

    @property
    def exports(self) -> Path:
        """All files that are exported."""
        return self.data / "export"

    def export(self, session: date) -> Path:
        """Return the directory of files that are exported for a session."""
        return self.exports / str(session)

    @property
    def manifests(self) -> Path:
        """The manifests of all tables."""
        return self.metadata / "manifests"

    def manifest(self, table: Table) -> Path:
        """Return the manifest of a table."""
        return self.manifests / f"{table.name}.jsonl"

    def table(self, table: Table) -> Path:
        """Return the directory of a table."""
        return self.lakehouse / table.zone / table.name

    def directory(self, table: Table, partition: Partition) -> Path:
        """Return the directory of one partition, in Hive style."""
        label = "vintage" if table.partition_by == "vintage" else "session"
        path = self.table(table) / f"{label}={partition.session}"
        return path / f"profile={safe_name('profile', partition.profile)}" if partition.profile else path

    def file(self, table: Table, partition: Partition) -> Path:
        """Return the one file of a silver or gold partition."""
        return self.directory(table, partition) / "part.parquet"

    def batch(self, table: Table, partition: Partition, batch_id: str) -> Path:
        """Return the file of one bronze batch."""
        return self.directory(table, partition) / f"{safe_name('batch id', batch_id)}.parquet"

    @property
    def copies(self) -> Path:
        """Month copies of all tables; nothing is lost when this directory is."""
        return self.lakehouse / "_copies"

    def copy(self, table: Table, month: str) -> Path:
        """Return the copy of one month (`2024-03`) of a table."""
        return self.copies / table.name / f"month={safe_name('month', month)}.parquet"

    @property
    def contents(self) -> Path:
        """Notes of what bronze partitions say; they can be computed again."""
        return self.metadata / "contents"

    def content(self, table: Table, partition: Partition) -> Path:
        """Return the note of one bronze partition."""
        return self.contents / table.name / f"{partition.session}.json"

    def daily_report(self, name: str) -> Path:
        """Return the CSV of one instrument's last month."""
        return self.lakehouse / "gold" / "reports" / f"{safe_name('report', name)}_daily_report.csv"

    def relative(self, path: Path) -> str:
        """Return a path relative to the data directory, with forward slashes."""
        return path.relative_to(self.data).as_posix()
