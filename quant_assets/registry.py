"""Runs of the asset graph from Python: the same assets, the same instance and the same events as in the UI."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

from quant_assets.control.locks import hold
from quant_assets.errors import GIVEN_UP_CODE, INTERRUPTED, DefectError
from quant_assets.flows.budget import OVER_BUDGET
from quant_assets.flows.given_up import GIVEN_UP, sentences
from quant_assets.flows.tracking import NOT_TRACKED
from quant_assets.lakehouse.layout import Layout, Partition
from quant_assets.settings import Settings, data_directory
from quant_assets.settings.environment import names_dagster_home

_OPENING_S: Final = 60.0
"""Making a fresh instance takes seconds on a slow disk; opening one that is there, none."""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What one Dagster run came to."""

    run_id: str
    success: bool
    failures: tuple[tuple[int, str], ...] = ()
    """(exit code, sentence) of each failed step, and of each instrument that TWS refuses; that alone fails nothing."""
    requests: int = 0
    """Requests for data that were sent to TWS, by steps that failed, too; repetitions are among them."""
    rewritten: int = 0
    """Rows that were inserted or updated, over all tables."""
    cached: tuple[str, ...] = ()
    """Stages of the alpha cycle that were served from the cache, as `table[partition]`."""
    warnings: tuple[str, ...] = field(default=())
    """Checks that did not pass but do not block, and a time budget that was exceeded."""

    @property
    def exit_code(self) -> int:
        """The exit code of the worst failure's branch; of a success, whether somebody was given up."""
        if self.success:
            return GIVEN_UP_CODE if self.given_up else 0
        return max((code for code, _ in self.failures if code != GIVEN_UP_CODE), default=1)

    @property
    def given_up(self) -> tuple[str, ...]:
        """A sentence for each instrument that TWS refuses."""
        return tuple(sentence for code, sentence in self.failures if code == GIVEN_UP_CODE)


class Registry:
    """Runs parts of the asset graph for one configuration."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._definitions: Any = None

    @property
    def definitions(self) -> Any:
        """The Dagster definitions, built on first use: importing Dagster takes a second."""
        if self._definitions is None:
            from quant_assets.definitions import build_definitions

            self._definitions = build_definitions(self.settings, is_watched=True)
        return self._definitions

    def run(
        self,
        assets: Sequence[str],
        first: Partition | None = None,
        last: Partition | None = None,
        *,
        is_repair: bool = False,
        asks_known: bool = False,
    ) -> RunOutcome:
        """Materialize assets over a closed range of partitions, in this process, recorded in the instance.

        Args:
            assets: names of assets that share their partitions.
            first: first partition; None for assets without partitions.
            last: last partition; `first` when left out.
            is_repair: ask again for what is in doubt, without waiting for the fetch throttle.
            asks_known: of a repair: ask for known holes, too.
        """
        import dagster as dg

        from quant_assets.resources.work import KNOWN, REPAIR_TAG

        tags = {} if first is None else _partition_tags(first, last or first)
        tags |= {REPAIR_TAG: KNOWN if asks_known else "true"} if is_repair else {}
        job = self.definitions.resolve_implicit_global_asset_job_def()
        with open_instance() as instance:
            result = job.execute_in_process(
                asset_selection=[dg.AssetKey(name) for name in assets],
                instance=instance,
                raise_on_error=False,
                partition_key=tags.get("dagster/partition"),
                tags={key: value for key, value in tags.items() if key != "dagster/partition"},
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
        return outcome_of(result)


def _partition_tags(first: Partition, last: Partition) -> dict[str, str]:
    if first == last:
        return {"dagster/partition": first.key}
    return {"dagster/asset_partition_range_start": first.key, "dagster/asset_partition_range_end": last.key}


def open_instance(root: Path | None = None) -> AbstractContextManager[Any]:
    """Open the instance of DAGSTER_HOME, else of dagster.yaml in the working directory, else one that does not last.

    Two processes that meet a fresh one at once corrupt it for good, so one at a time opens it.
    """
    import dagster as dg

    root = root or Path.cwd()
    if names_dagster_home():
        return dg.DagsterInstance.get()
    if (root / "dagster.yaml").is_file():
        with hold("dagster", Layout(data_directory()).history, wait_s=_OPENING_S):
            return dg.DagsterInstance.from_config(str(root))
    return dg.DagsterInstance.ephemeral()


def outcome_of(result: Any) -> RunOutcome:
    """Return what a run that was executed in this process came to.

    Whether the newest session is there is asked of every table on every run, and says nothing of the sessions that this
    run was asked for: it is left to the UI and to `quant status`.
    """
    from quant_assets.assets.describe import LATEST_PRESENT

    steps = tuple(_failure(event) for event in result.all_node_events if event.is_step_failure)
    failures = steps or tuple(_run_failure(event) for event in result.all_events if event.is_failure)
    materializations = list(_materializations(result))
    counts = [materialization.metadata for materialization in materializations]
    checks = [check for check in result.get_asset_check_evaluations() if not check.passed and not check.blocking]
    refused = [row for check in checks if GIVEN_UP in check.metadata for row in check.metadata[GIVEN_UP].value]
    late = [str(one[OVER_BUDGET].value) for one in counts if OVER_BUDGET in one][-1:]
    told = [*late, *(str(one[NOT_TRACKED].value) for one in counts if NOT_TRACKED in one)]
    return RunOutcome(
        run_id=result.run_id,
        success=result.success,
        failures=(*failures, *((GIVEN_UP_CODE, sentence) for sentence in sentences(refused))),
        requests=requests_of(_told(result)),
        rewritten=sum(_number(one, "inserted") + _number(one, "updated") for one in counts),
        cached=tuple(sorted(_cached(result))),
        warnings=tuple(
            f"{check.asset_key.to_user_string()}: {check.check_name}"
            + (f" — {check.description}" if check.description else "")
            for check in checks
            if GIVEN_UP not in check.metadata and check.check_name != LATEST_PRESENT
        )
        + tuple(told),
    )


def _materializations(result: Any) -> Iterable[Any]:
    return (
        event.event_specific_data.materialization for event in result.all_node_events if event.is_step_materialization
    )


def _told(result: Any) -> Iterable[tuple[str, dict[str, Any]]]:
    """Yield (step, metadata) of what was materialized and of what failed."""
    for event in result.all_node_events:
        if event.is_step_materialization:
            yield event.step_key, event.event_specific_data.materialization.metadata
        elif event.is_step_failure and (failure := event.step_failure_data.user_failure_data):
            yield event.step_key, failure.metadata


def requests_of(told: Iterable[tuple[str, dict[str, Any]]]) -> int:
    """Return what all steps asked of TWS; each says it once for the run, on every partition and in its failure."""
    asked: dict[str, int] = {}
    for step, metadata in told:
        asked[step] = max(asked.get(step, 0), _number(metadata, "tws_requests"))
    return sum(asked.values())


def _cached(result: Any) -> Iterable[str]:
    for one in _materializations(result):
        if (origin := one.metadata.get("origin")) is not None and origin.value == "cache":
            yield f"{one.asset_key.to_user_string()}[{one.partition}]"


def _number(metadata: dict[str, Any], name: str) -> int:
    return int(metadata[name].value) if name in metadata else 0


def _failure(event: Any) -> tuple[int, str]:
    data = event.step_failure_data
    if user := data.user_failure_data:
        code = user.metadata.get("exit_code")
        return (int(code.value) if code else 1, user.description or event.step_key)
    error = data.error.cause or data.error
    if error.cls_name == "DagsterExecutionInterruptedError":
        return INTERRUPTED
    return DefectError.exit_code, f"{event.step_key}: {error.to_string()}"


def _run_failure(event: Any) -> tuple[int, str]:
    """Return what ended a run before any step did, such as a resource that could not start."""
    error = getattr(event.event_specific_data, "error", None)
    told = error.cause or error if error else None
    return DefectError.exit_code, f"{event.message or 'the run failed'} {told.to_string() if told else ''}".strip()


def range_of(sessions: Sequence[date], profile: str = "", last_profile: str = "") -> tuple[Partition, Partition]:
    """Return the first and last partition of consecutive sessions, and of consecutive profiles."""
    return Partition(sessions[0], profile), Partition(sessions[-1], last_profile or profile)
