"""Publishing gold: candidates, and the index of what each step wrote into a run directory."""

import hashlib
from collections.abc import Callable

import polars as pl

from quant_assets.domain.tables import (
    CANDIDATES,
    CURATED_TWS_1D_BARS,
    INSTRUMENTS,
    REPORTS,
    RETURNS_MATRIX,
    SNAPSHOTS,
    UNIVERSE,
    WEIGHTS,
    Table,
)
from quant_assets.flows.alpha import build_report, build_returns, build_weights
from quant_assets.flows.publishing import Published, publish_frame, unchanged
from quant_assets.flows.screen import screen_session
from quant_assets.flows.snapshot import freeze
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.runs import RunDirectory, code_version


def candidates(work: Work, partition: Partition) -> Published:
    """Publish `candidates` of a session and profile.

    Raises:
        UnknownNameError: there is no such profile.
        NotPublishedError: an input of the session is missing.
        NoCandidatesError: the screen accepted nobody.
    """
    upstream = (UNIVERSE, INSTRUMENTS, CURATED_TWS_1D_BARS)
    inputs = {**_content_ids(work, upstream, Partition(partition.session)), **_identity(work, partition)}
    if standing := unchanged(work, CANDIDATES, partition, inputs):
        return standing
    profile = work.settings.manifest.profile(partition.profile)
    screened = screen_session(work.lake.curated, partition.session, partition.profile, profile)
    accepted = screened.frame.filter(pl.col("verdict") == "accepted").height
    return publish_frame(
        work,
        CANDIDATES,
        partition,
        screened.frame,
        inputs=inputs,
        watermark=screened.watermark,
        metadata={"accepted": accepted, "rejected": screened.frame.height - accepted},
    )


def snapshot(work: Work, partition: Partition) -> Published:
    """Freeze what a run needs, and publish its row of `snapshots`.

    Raises:
        SnapshotIncompleteError: lists every missing item with its mend.
    """
    inputs = {
        **_content_ids(work, (CANDIDATES,), partition),
        **_content_ids(work, (CURATED_TWS_1D_BARS, INSTRUMENTS), Partition(partition.session)),
        **_identity(work, partition),
    }
    if (standing := unchanged(work, SNAPSHOTS, partition, inputs)) and run_of(work, partition).path.is_dir():
        return standing
    profile = work.settings.manifest.profile(partition.profile)
    frozen = freeze(
        work.lake.curated,
        work.layout,
        partition.session,
        partition.profile,
        profile,
        work.calendar.window(partition.session, profile.data.lookback_sessions),
        work.clock,
    )
    return publish_frame(
        work,
        SNAPSHOTS,
        partition,
        frozen.frame,
        inputs=inputs,
        metadata={"run_id": frozen.run_id, "stale": len(frozen.stale)},
    )


def run_of(work: Work, partition: Partition) -> RunDirectory:
    """Return the run directory that a session and profile stand on.

    Raises:
        NotPublishedError: nothing was frozen.
    """
    row = work.lake.curated.read(SNAPSHOTS, partition)
    return RunDirectory(work.layout.run(row["run_id"][0]))


def returns_matrix(work: Work, partition: Partition) -> Published:
    """Build the returns matrix inside the run, and publish its coverage certificate."""
    return _step(work, partition, RETURNS_MATRIX, (SNAPSHOTS,), build_returns)


def weights(work: Work, partition: Partition) -> Published:
    """Optimise inside the run, and publish the weights."""
    return _step(work, partition, WEIGHTS, (SNAPSHOTS, RETURNS_MATRIX), build_weights)


def report(work: Work, partition: Partition) -> Published:
    """Write the reports, seal the run, and publish where they are."""
    return _step(work, partition, REPORTS, (SNAPSHOTS, WEIGHTS), build_report)


def _step(
    work: Work,
    partition: Partition,
    table: Table,
    upstream: tuple[Table, ...],
    build: Callable[..., pl.DataFrame],
) -> Published:
    inputs = _content_ids(work, upstream, partition)
    run = run_of(work, partition)
    if (standing := unchanged(work, table, partition, inputs)) and run.is_finished:
        return standing
    frame = build(run, work.clock)
    return publish_frame(work, table, partition, frame, inputs=inputs, metadata={"run_id": run.run_id})


def _content_ids(work: Work, tables: tuple[Table, ...], partition: Partition) -> dict[str, str]:
    found = {table.name: work.lake.curated.footer(table, partition) for table in tables}
    return {name: footer.content_id if footer else "missing" for name, footer in found.items()}


def _identity(work: Work, partition: Partition) -> dict[str, str]:
    """Return what besides data decides a result: the profile and the code."""
    profile = work.settings.manifest.profile(partition.profile)
    return {"profile": hashlib.sha256(profile.model_dump_json().encode()).hexdigest(), "code": code_version()}
