"""Publishing gold: candidates, and the index of what each step wrote into a run directory."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import polars as pl

from quant_assets.domain.limits import Limits
from quant_assets.domain.tables import (
    CANDIDATES,
    CURATED_TWS_1D_BARS,
    INSTRUMENTS,
    REPORTS,
    RETURNS_MATRIX,
    SELECTION,
    SNAPSHOTS,
    SYNTHETIC_RETURNS,
    UNIVERSE,
    WEIGHTS,
    Table,
)
from quant_assets.flows.alpha import build_report, build_returns, build_selection, build_synthesis, build_weights
from quant_assets.flows.alpha.stages import origins
from quant_assets.flows.backtest.directory import newest_walk
from quant_assets.flows.judged import selection_findings, weight_findings
from quant_assets.flows.publishing import Finding, Published, publish_frame, unchanged
from quant_assets.flows.screen import screen_session
from quant_assets.flows.screens import load_screens, require_published, required_tables
from quant_assets.flows.snapshot import Previous, evidence, freeze
from quant_assets.flows.tracking import tracked
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.lakehouse.runs import RunDirectory, StageCache, code_version


def candidates(work: Work, partition: Partition) -> Published:
    """Publish `candidates` of a session and profile.

    Raises:
        UnknownNameError: there is no such profile.
        NotPublishedError: an input of the session is missing.
        NoCandidatesError: the screen accepted nobody.
    """
    upstream = (UNIVERSE, INSTRUMENTS, CURATED_TWS_1D_BARS)
    profile = work.settings.manifest.profile(partition.profile)
    screens = load_screens(work, profile)
    needed = required_tables(profile, screens.values())
    inputs = {
        **_content_ids(work, (*upstream, *needed), Partition(partition.session)),
        **_identity(work, partition),
        **{
            f"screen:{name}": hashlib.sha256(one.model_dump_json().encode()).hexdigest()
            for name, one in screens.items()
        },
    }
    if standing := unchanged(work, CANDIDATES, partition, inputs):
        return standing
    require_published(work, needed, partition.session)
    screened = screen_session(work.lake.curated, partition.session, partition.profile, profile, screens)
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
    previous, limits = _previous(work, partition), Limits.of(work.settings.manifest.lakehouse)
    inputs = {
        **_content_ids(work, (CANDIDATES,), partition),
        **_content_ids(work, (CURATED_TWS_1D_BARS, INSTRUMENTS), Partition(partition.session)),
        **_identity(work, partition),
        **limits.as_inputs(),
        **({"previous_weights": previous.content_id} if previous else {}),
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
        base_currency=work.settings.manifest.lakehouse.base_currency,
        limits=limits,
        previous=previous,
        evidence=partial(evidence, work.lake),
        walked=newest_walk(work.layout, partition.profile, profile, partition.session),
    )
    return publish_frame(
        work,
        SNAPSHOTS,
        partition,
        frozen.frame,
        inputs=inputs,
        metadata={
            "run_id": frozen.run_id,
            "stale": len(frozen.stale),
            "degraded": "; ".join(frozen.degraded),
            "previous": previous.run_id if previous else "",
        },
    )


def _previous(work: Work, partition: Partition) -> Previous | None:
    """Return the weights that a turnover limit is measured from: the newest published ones of an older session.

    There is no edge in the graph for this, because it would be a circle; the snapshot's metadata names the run.
    """
    if work.settings.manifest.profile(partition.profile).risk.max_turnover is None:
        return None
    older = [
        one
        for one in work.lake.curated.partitions(WEIGHTS)
        if one.profile == partition.profile and one.session < partition.session
    ]
    if not older:
        return None
    newest = max(older, key=lambda one: one.session)
    frame, footer = work.lake.curated.read_standing(WEIGHTS, newest)
    return Previous(
        newest.session, frame["run_id"][0], footer.content_id, dict(frame.select("con_id", "weight").rows())
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


def selection(work: Work, partition: Partition) -> Published:
    """Score, cluster and judge the instruments of the matrix inside the run, and publish every verdict."""
    upstream = (SNAPSHOTS, RETURNS_MATRIX)
    return _step(work, partition, SELECTION, upstream, build_selection, selection_findings)


def synthetic_returns(work: Work, partition: Partition) -> Published:
    """Make the atoms of the selected instruments inside the run, and publish their composition map."""
    return _step(work, partition, SYNTHETIC_RETURNS, (SNAPSHOTS, SELECTION), build_synthesis)


def weights(work: Work, partition: Partition) -> Published:
    """Optimise inside the run, and publish the weights."""
    upstream = (SNAPSHOTS, SELECTION, SYNTHETIC_RETURNS)
    return _step(work, partition, WEIGHTS, upstream, build_weights, weight_findings)


def report(work: Work, partition: Partition) -> Published:
    """Write the reports, seal the run, and publish where they are; then tell others of it, where that is enabled."""
    published = _step(work, partition, REPORTS, (SNAPSHOTS, WEIGHTS), build_report)
    is_new = published.report is not None and published.report.inserted + published.report.updated > 0
    return published.with_metadata(**tracked(work, run_of(work, partition))) if is_new else published


def _step(
    work: Work,
    partition: Partition,
    table: Table,
    upstream: tuple[Table, ...],
    build: Callable[..., pl.DataFrame],
    judged: Callable[[RunDirectory], tuple[Finding, ...]] = lambda _: (),
) -> Published:
    """Build one step of a run and publish its index; `judged` reads from the run what its checks have to show."""
    inputs = _content_ids(work, upstream, partition)
    run = run_of(work, partition)
    if (standing := unchanged(work, table, partition, inputs)) and run.is_finished:
        return replace(standing, findings=(*standing.findings, *judged(run)))
    frame = build(run, work.clock, StageCache(work.layout.cache))
    told = {"run_id": run.run_id, **_origin(run, table)}
    return publish_frame(work, table, partition, frame, inputs=inputs, findings=judged(run), metadata=told)


def _origin(run: RunDirectory, table: Table) -> dict[str, str]:
    """Return whether a stage of the run was computed or came from the cache."""
    event = {"returns_matrix": "returns", "synthetic_returns": "synthesis"}.get(table.name, table.name)
    return {"origin": origins(run)[event]} if event in origins(run) else {}


def _content_ids(work: Work, tables: tuple[Table, ...], partition: Partition) -> dict[str, str]:
    found = {table.name: work.lake.curated.footer(table, partition) for table in tables}
    return {name: footer.content_id if footer else "missing" for name, footer in found.items()}


def _identity(work: Work, partition: Partition) -> dict[str, str]:
    """Return what besides data decides a result: the profile and the code."""
    profile = work.settings.manifest.profile(partition.profile)
    return {"profile": hashlib.sha256(profile.model_dump_json().encode()).hexdigest(), "code": code_version()}
