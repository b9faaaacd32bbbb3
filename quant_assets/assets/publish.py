"""From what was published to Dagster's events: materializations, metadata per partition, and checks.

A body goes session by session. What passed is committed and shown; what did not stays missing, its check fails, and
the run fails naming it, so that nobody downstream can read a bad session.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from quant_assets.assets.describe import LATEST_PRESENT
from quant_assets.control.locks import hold
from quant_assets.domain.tables import Table
from quant_assets.errors import (
    DataWrong,
    NotASessionError,
    QuantAssetsError,
    SessionsNotPublishedError,
    ShapeError,
    UnknownNameError,
)
from quant_assets.flows.budget import OVER_BUDGET, over_budget
from quant_assets.flows.given_up import GIVEN_UP
from quant_assets.flows.publishing import Finding, Published
from quant_assets.flows.work import Work
from quant_assets.lakehouse.content import combined_id
from quant_assets.lakehouse.layout import Partition

Build = Callable[[Partition], Sequence[Published]]
REQUESTS = "tws_requests"
"""Metadata of the first table of an asset that asks TWS, and of its failure: how many requests its step sent."""
_PARTITION_TAGS = ("dagster/partition", "dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
Events = Iterator[dg.MaterializeResult | dg.AssetCheckResult]  # type: ignore[type-arg]


def partitions_of(context: dg.AssetExecutionContext, work: Work) -> list[Partition]:
    """Return the run's partitions, ascending.

    Dagster takes a holiday for the next session, and runs a reversed range green with no partitions at all; what the
    run's tags still show of that is refused here. A backfill that was launched over GraphQL with a holiday's key (the
    UI offers none) has become the next session before its run exists, and runs as that.

    Raises:
        NotASessionError, FutureSessionError: a partition is no closed session, or there is none.
        UnknownNameError: its profile is not in the manifest, or not active.
    """
    tags = context.run.tags
    asked = [tags[name] for name in _PARTITION_TAGS if name in tags]
    for key in asked:
        _require(Partition.from_key(key), work)
    keys = list(context.partition_keys)
    if not keys:
        raise NotASessionError(
            "..".join(asked), "the range is reversed or holds no session; write the earlier one first"
        )
    return sorted(_require(Partition.from_key(key), work) for key in keys)


def _require(partition: Partition, work: Work) -> Partition:
    work.calendar.require_closed(partition.session, work.clock.now())
    if partition.profile and partition.profile not in (known := work.settings.manifest.active_profiles):
        raise UnknownNameError("active profile", partition.profile, known)
    return partition


def publish(
    context: dg.AssetExecutionContext,
    work: Work,
    tables: Sequence[Table],
    build: Callable[[Work, list[Partition]], Build],
    *,
    metadata: Mapping[str, Any] | None = None,
    finish: Callable[[list[Partition]], Mapping[str, Any]] | None = None,
) -> Events:
    """Run a body over the run's partitions and tell Dagster what became of each.

    Args:
        context: of the asset.
        work: the run's unit of work.
        tables: what the asset produces.
        build: given all partitions of the run, returns the function that publishes one of them; what several
            partitions share is done in the first call.
        metadata: shown with every materialization.
        finish: called with the committed partitions; its metadata (pictures, for instance) goes to the newest one
            of the first table.

    Raises:
        dagster.Failure: some partitions were not published, or the source or the disk failed; the text is the error's.
    """
    asked = work.gate.n_asked
    with as_failures(lambda: work.gate.n_asked - asked):
        with hold(
            tables[0].name,
            work.layout.locks,
            wait_s=work.settings.manifest.lakehouse.lock_wait_s,
            owner={"run": work.run_id, "asset": tables[0].producer},
        ):
            partitions = partitions_of(context, work)
            done, failures, fatal = _publish_each(work, partitions, build)
        n_asked = work.gate.n_asked - asked
        if n_asked or _may_ask(context):
            done = [one.with_metadata(**{REQUESTS: n_asked}) if one.table is tables[0] else one for one in done]
        shown = {"source": work.source_label, **_lateness(context, work, partitions), **(metadata or {})}
        newest = [one.partition for one in done if one.is_committed and one.table is tables[0]]
        last = dict(finish(newest)) if finish and newest else {}
    told = {"all": shown, tables[0].name: last}
    with as_failures(lambda: n_asked):
        yield from _report(context, work, tables, done, failures, fatal, told)


def _may_ask(context: dg.AssetExecutionContext) -> bool:
    """Return whether the asset says that it asks TWS, so that it shows a count of 0, too."""
    return any("tws" in spec.kinds for spec in context.assets_def.specs)


def _lateness(context: dg.AssetExecutionContext, work: Work, partitions: list[Partition]) -> dict[str, str]:
    """Return the metadata of a run that exceeds its time budget, after a warning in its log and the audit log."""
    told = over_budget(work, len({partition.session for partition in partitions}))
    if told is None:
        return {}
    context.log.warning(told)
    work.audit.record(OVER_BUDGET, run_id=work.run_id, status="warn", message=told)
    return {OVER_BUDGET: told}


def _publish_each(
    work: Work, partitions: list[Partition], build: Callable[[Work, list[Partition]], Build]
) -> tuple[list[Published], dict[str, str], QuantAssetsError | None]:
    """Publish one partition after the other; wrong data holds back its own partition, anything else ends the run."""
    done: list[Published] = []
    failures: dict[str, str] = {}
    publish_one = build(work, partitions)
    for partition in partitions:
        try:
            results = publish_one(partition)
        except ShapeError:
            raise
        except DataWrong as error:
            failures[partition.key] = str(error)
            continue
        except QuantAssetsError as error:
            return done, failures, error
        done.extend(results)
        held_back = [result.reason for result in results if not result.is_committed]
        if held_back:
            failures[partition.key] = "; ".join(held_back)
    return done, failures, None


def _report(
    context: dg.AssetExecutionContext,
    work: Work,
    tables: Sequence[Table],
    done: list[Published],
    failures: dict[str, str],
    fatal: QuantAssetsError | None,
    shown: Mapping[str, Mapping[str, Any]],
) -> Events:
    is_whole = not failures and fatal is None
    for table in tables:
        key = _asset_key(table)
        committed = [one for one in done if one.table is table and one.is_committed]
        checks = list(_checks(context, work, table, done, failures))
        is_complete = len(committed) == len({one.partition for one in done})
        if is_whole and is_complete and key in context.selected_asset_keys:
            for one in committed:
                context.add_asset_metadata(
                    _metadata(one, shown, committed), asset_key=key, partition_key=one.partition.key
                )
            yield dg.MaterializeResult(asset_key=key, data_version=_data_version(committed), check_results=checks)
        else:
            for one in committed:
                context.log_event(
                    dg.AssetMaterialization(
                        key,
                        partition=one.partition.key,
                        metadata=_metadata(one, shown, committed),
                        tags={"dagster/data_version": _version(one)},
                    )
                )
            yield from checks
    if fatal is not None:
        raise fatal
    if failures:
        n_good = len({one.partition for one in done if one.is_committed} - {Partition.from_key(k) for k in failures})
        raise SessionsNotPublishedError(tables[0].name, failures, n_good)


def _asset_key(table: Table) -> dg.AssetKey:
    return dg.AssetKey(table.producer if table.name == "reports" else table.name)


def _version(one: Published) -> str:
    assert one.report is not None
    return one.report.content_id


def _data_version(committed: Sequence[Published]) -> dg.DataVersion:
    """Return the content id of one partition, or the hash of those of a range."""
    ids = [_version(one) for one in committed]
    return dg.DataVersion(ids[0] if len(ids) == 1 else combined_id(ids))


def _metadata(one: Published, shown: Mapping[str, Mapping[str, Any]], committed: Sequence[Published]) -> dict[str, Any]:
    """Return what the UI shows of a partition, in its order: pictures first, and what only programs read last."""
    report = one.report
    assert report is not None
    pictures = shown.get(one.table.name, {}) if one is committed[-1] else {}
    return {
        "dagster/row_count": report.rows,
        "dagster/partition_row_count": report.rows,
        **pictures,
        **one.metadata,
        **shown["all"],
        "inserted": report.inserted,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "location": dg.MetadataValue.path(report.location),
        "content_id": report.content_id,
    }


def _checks(
    context: dg.AssetExecutionContext,
    work: Work,
    table: Table,
    done: Sequence[Published],
    failures: Mapping[str, str],
) -> Iterator[dg.AssetCheckResult]:
    """Yield one result per selected check: of a range it passes when it passed in every partition."""
    key, selected = _asset_key(table), context.selected_asset_check_keys
    declared = [spec for spec in context.assets_def.check_specs if spec.asset_key == key and spec.key in selected]
    mine = [one for one in done if one.table is table]
    for spec in declared:
        if spec.name == LATEST_PRESENT:
            yield _latest_present(work, table, key)
            continue
        found = [(one, finding) for one in mine for finding in one.findings if finding.check == spec.name]
        broken = {one.partition.key: finding.message for one, finding in found if not finding.passed}
        if spec.blocking and not found and failures:
            broken = dict(failures)
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=spec.name,
            passed=not broken,
            severity=dg.AssetCheckSeverity.ERROR if spec.blocking else dg.AssetCheckSeverity.WARN,
            description="; ".join(f"{partition}: {why}" for partition, why in list(broken.items())[:10]) or None,
            metadata=_evidence(found, len(mine)),
        )


def _evidence(found: Sequence[tuple[Published, Finding]], n_partitions: int) -> dict[str, Any]:
    evidence: dict[str, Any] = {"partitions": n_partitions}
    for _, finding in found[-1:]:
        evidence |= {name: value for name, value in finding.metadata.items() if value not in ([], {})}
    given_up = [row for _, finding in found for row in finding.metadata.get(GIVEN_UP, [])]
    return evidence | ({GIVEN_UP: given_up} if given_up else {})


def _latest_present(work: Work, table: Table, key: dg.AssetKey) -> dg.AssetCheckResult:
    latest = work.latest_session()
    store = work.lake.raw if table.append_only else work.lake.curated
    published = store.newest(table)
    newest = published.session if published else None
    is_present = newest is not None and newest >= latest
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=LATEST_PRESENT,
        passed=is_present,
        severity=dg.AssetCheckSeverity.WARN,
        description=None if is_present else f"{latest} has closed, and the newest partition is {newest or 'none'}",
        metadata={"latest_session": str(latest), "newest_published": str(newest)},
    )


def as_failure(error: QuantAssetsError, n_asked: int = 0) -> dg.Failure:
    """Return the failure that shows an error's sentence, and keeps for the command line what the run is judged by."""
    told: dict[str, Any] = {"error": type(error).__name__, "exit_code": error.exit_code, REQUESTS: n_asked}
    return dg.Failure(str(error), metadata=told)


class as_failures:  # noqa: N801 - reads as a clause of a with statement
    """Show our own errors to Dagster's users as what they are: a sentence, not a stack."""

    def __init__(self, n_asked: Callable[[], int] = lambda: 0) -> None:
        """Remember whom to ask how many requests were sent, which a failure tells, too."""
        self._n_asked = n_asked

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, QuantAssetsError):
            raise as_failure(error, self._n_asked()) from error
