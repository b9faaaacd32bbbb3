"""Publish only what passes: rules run before the commit, and what breaks a blocking one is never written."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from quant_assets.domain.tables import Table
from quant_assets.errors import CorruptFileError
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.store import StorageReport

SCHEMA = "schema"
NOT_EMPTY = "not_empty"
MAKE_INPUTS = "Run `quant flow data` for the session, or materialize the upstream assets."
"""What mends that a table cannot be made because what it is made from is missing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one rule on one partition."""

    check: str
    passed: bool
    message: str = ""
    blocking: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Published:
    """What became of one partition: committed with a report, or held back with the findings that say why."""

    table: Table
    partition: Partition
    report: StorageReport | None
    findings: tuple[Finding, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_committed(self) -> bool:
        """Whether the partition stands as it was offered."""
        return self.report is not None

    @property
    def reason(self) -> str:
        """Why it was held back."""
        return "; ".join(f.message or f.check for f in self.findings if f.blocking and not f.passed)

    def with_metadata(self, **extra: Any) -> "Published":
        """Return the same with more metadata."""
        return replace(self, metadata={**self.metadata, **extra})

    def with_finding(self, finding: Finding) -> "Published":
        """Return the same with a finding, in the place of one of the same check."""
        others = [one for one in self.findings if one.check != finding.check]
        return replace(self, findings=(*others, finding))


def unchanged(work: Work, table: Table, partition: Partition, inputs: Mapping[str, str]) -> Published | None:
    """Return what stands, when it was computed from exactly these inputs and judged by today's rules; else None.

    This is what makes a second run free: nothing is read but the manifest. A file that became unreadable, or that is
    not the one that was committed and holds other rows than its footer says, does not stand: it is computed again.
    """
    try:
        footer = work.lake.curated.indexed_footer(table, partition)
    except CorruptFileError:
        return None
    if footer is None or not inputs or dict(footer.inputs) != _judged_inputs(table, inputs):
        return None
    report = StorageReport(
        table=table.name,
        location=work.layout.relative(work.layout.file(table, partition)),
        partition=partition.key,
        rows=footer.n_rows,
        inserted=0,
        updated=0,
        unchanged=footer.n_rows,
        content_id=footer.content_id,
    )
    passed = (Finding(NOT_EMPTY, passed=True), Finding(SCHEMA, passed=True))
    warned = tuple(
        Finding(check, passed=False, message=told, blocking=False) for check, told in footer.warnings.items()
    )
    return Published(table, partition, report, (*passed, *warned), {"served_from": "inputs unchanged"})


def publish_frame(
    work: Work,
    table: Table,
    partition: Partition,
    frame: pl.DataFrame,
    *,
    inputs: Mapping[str, str],
    watermark: str = "",
    findings: Sequence[Finding] = (),
    metadata: Mapping[str, Any] | None = None,
) -> Published:
    """Judge a frame and commit it when no blocking rule is broken.

    Args:
        work: stores and run id.
        table: declaration whose shape and rules the frame must keep.
        partition: where it goes.
        frame: the whole partition.
        inputs: what it was computed from.
        watermark: newest knowledge time among the inputs.
        findings: outcomes of rules that only the caller can judge.
        metadata: what to show beside the storage report.

    Raises:
        ShapeError: the frame differs from the declaration: our defect, so the run stops.
        StaleInputsError, DiskFullError: see `CuratedStore.write`.
    """
    ready = table.conform(frame)
    with ThreadPoolExecutor(1) as hasher:  # hashing needs no lock of Python's, and the rules need nothing else
        identity = hasher.submit(work.lake.curated.identity, table, ready)
        judged = (*judge(table, ready), *findings)
    if any(finding.blocking and not finding.passed for finding in judged):
        return Published(table, partition, None, judged, metadata or {})
    known = _judged_inputs(table, inputs)
    warnings = {finding.check: finding.message for finding in judged if not finding.passed}
    report = work.lake.curated.write(
        table,
        partition,
        ready,
        inputs=known,
        watermark=watermark,
        warnings=warnings,
        identity=identity.result(),
    )
    return Published(table, partition, report, judged, metadata or {})


def _judged_inputs(table: Table, inputs: Mapping[str, str]) -> dict[str, str]:
    """Return the inputs with the rules that judged the result, so that a new rule judges what stands, too."""
    return {**inputs, "rules": table.rules_id}


def judge(table: Table, frame: pl.DataFrame) -> tuple[Finding, ...]:
    """Run the declared rules over a frame of the table's shape."""
    from quant_assets.domain.validation import validate

    empty = frame.is_empty() and not table.may_be_empty
    failures = [] if frame.is_empty() else validate(table, frame)  # its shape is known, and no row breaks a rule
    text = "; ".join(f"{f.column} breaks {f.check} in {f.n_failures} rows" for f in failures)
    return (
        Finding(NOT_EMPTY, passed=not empty, message=f"{table.name} has no rows" if empty else ""),
        Finding(SCHEMA, passed=not failures, message=text, metadata={"failures": [str(f) for f in failures[:20]]}),
    )
