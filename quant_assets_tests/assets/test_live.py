"""A real `dagster dev`: the code location, its sensor and schedules, backfills, freshness, and a killed run."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quant_assets_tests.assets.house import House, manifest
from quant_assets_tests.assets.server import Server, served
from quant_assets_tests.assets.waiting import wait_for

pytestmark = pytest.mark.slow

BOTH = ["universe", "raw_tws_bars"]
SLOW: dict[str, Any] = {"tws": {"max_requests_per_10_min": 1}, "replay": {"time_scale": 1}}
"""One request in ten minutes: a run that is surely still at work when it is killed."""

LOCATIONS = """{ workspaceOrError { __typename ... on Workspace { locationEntries {
    name loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } } }"""
INSTIGATORS = """{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name }
    sensors { name sensorState { status } } schedules { name scheduleState { status } } } } } }"""
BACKFILL = """mutation($of: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $of) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
    ... on PartitionKeysNotFoundError { message } } }"""
LAUNCH = """mutation($of: ExecutionParams!) { launchPipelineExecution(executionParams: $of) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
RUN = """query($id: ID!) { runOrError(runId: $id) { ... on Run { status
    eventConnection(limit: 1000) { events { __typename ... on ExecutionStepFailureEvent {
    failureMetadata { description } } } } } } }"""
RUNS = """query($tag: String!) { runsOrError(filter: {tags: [{key: "dagster/backfill", value: $tag}]}) { ... on Runs {
    results { status tags { key value } } } } }"""
FRESHNESS = """{ assetNodeOrError(assetKey: {path: ["universe"]}) { ... on AssetNode {
    freshnessStatusInfo { freshnessStatus } } } }"""
PARTITIONS = """{ assetNodeOrError(assetKey: {path: ["raw_tws_bars"]}) { ... on AssetNode { partitionStats {
    numMaterialized } } } }"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[tuple[House, Server]]:
    """A project directory as a user has it, and `dagster dev` in it, without DAGSTER_HOME."""
    with House(tmp_path, SLOW) as house:
        environment = {"QUANT_DATA": str(house.data), "QUANT_CONFIGS": str(house.configs)}
        with served("dagster", "dev", directory=tmp_path, environment=environment) as server:
            yield house, server


def test_a_day_with_dagster_dev(project: tuple[House, Server]):
    """One story instead of many tests, because the server takes seconds to start and its daemons look twice a minute."""
    house, server = project
    loads_without_error(server)
    runs_by_itself(server)
    two_sessions = backfill(server, ["2025-11-26", "2025-11-28"])
    a_holiday = backfill(server, ["2025-07-04"])
    no_such_key = server.ask(BACKFILL, of=params(["weights"], ["plain|2025-11-27"]))["launchPartitionBackfill"]
    assert no_such_key["__typename"] == "PartitionKeysNotFoundError"

    killed = launch(server, "2025-11-25")
    os.kill(pid_at_work(house, server), signal.SIGKILL)
    wait_for(lambda: status(server, killed) == "FAILURE", server.process)

    (house.configs / "manifest.json").write_text(json.dumps(manifest()))
    rerun, refused = launch(server, "2025-11-25"), launch(server, "2025-11-27")
    wait_for(lambda: status(server, rerun) == "SUCCESS", server.process)
    wait_for(lambda: status(server, refused) == "FAILURE", server.process)
    assert sentences(server, refused) == [
        "2025-11-27 is no session: the exchange is closed that day. Nearest sessions: 2025-11-26, 2025-11-28."
    ]

    wait_for(lambda: statuses(server, two_sessions) == ["SUCCESS"], server.process)
    assert partitions(server, two_sessions) == ("2025-11-26", "2025-11-28"), "one run for the range"
    wait_for(lambda: statuses(server, a_holiday) == ["SUCCESS"], server.process)
    assert partitions(server, a_holiday) == ("2025-07-07", "2025-07-07"), "Dagster goes on to the next session"
    wait_for(lambda: freshness(server) == "HEALTHY", server.process)
    assert server.ask(PARTITIONS)["assetNodeOrError"]["partitionStats"]["numMaterialized"] >= 4
    is_kept(house)


def loads_without_error(server: Server) -> None:
    (entry,) = server.ask(LOCATIONS)["workspaceOrError"]["locationEntries"]
    assert (entry["name"], entry["loadStatus"]) == ("quant_assets", "LOADED")
    assert entry["locationOrLoadError"] == {"__typename": "RepositoryLocation"}


def runs_by_itself(server: Server) -> None:
    (repository,) = server.ask(INSTIGATORS)["repositoriesOrError"]["nodes"]
    running = {"status": "RUNNING"}
    assert sorted(repository["sensors"], key=lambda one: one["name"]) == [
        {"name": "automation", "sensorState": running},
        {"name": "repair_holes", "sensorState": running},
    ]
    schedules = {one["name"]: one["scheduleState"]["status"] for one in repository["schedules"]}
    assert {"daily_data_cycle", "weekly_catalog"} <= set(schedules)
    assert set(schedules.values()) == {"RUNNING"}


def params(assets: list[str], partition_names: list[str]) -> dict[str, Any]:
    return {"assetSelection": [{"path": [name]} for name in assets], "partitionNames": partition_names}


def backfill(server: Server, sessions: list[str]) -> str:
    """Launch a backfill as the UI does; returns its id."""
    answer = server.ask(BACKFILL, of=params(BOTH, sessions))["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    return str(answer["backfillId"])


def launch(server: Server, session: str) -> str:
    """Launch one run of one partition as the UI does; returns its id."""
    selector = {
        "repositoryLocationName": "quant_assets",
        "repositoryName": "__repository__",
        "pipelineName": "__ASSET_JOB",
        "assetSelection": [{"path": [name]} for name in BOTH],
    }
    tags = {"tags": [{"key": "dagster/partition", "value": session}]}
    of = {"selector": selector, "mode": "default", "runConfigData": {}, "executionMetadata": tags}
    answer = server.ask(LAUNCH, of=of)["launchPipelineExecution"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return str(answer["run"]["runId"])


def pid_at_work(house: House, server: Server) -> int:
    """Return the process of the run that is talking to TWS, and is fetching bars."""
    locks = house.data / "lakehouse" / "_metadata" / "locks"
    note = wait_for(
        lambda: holder(locks / "raw_tws_bars.holder.json") and holder(locks / "tws.holder.json"), server.process
    )
    return int(note["pid"])


def holder(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return found


def status(server: Server, run_id: str) -> str:
    return str(server.ask(RUN, id=run_id)["runOrError"]["status"])


def sentences(server: Server, run_id: str) -> list[str]:
    events = server.ask(RUN, id=run_id)["runOrError"]["eventConnection"]["events"]
    found = [event["failureMetadata"] for event in events if event.get("failureMetadata")]
    return [one["description"] for one in found]


def statuses(server: Server, backfill_id: str) -> list[str]:
    return [run["status"] for run in server.ask(RUNS, tag=backfill_id)["runsOrError"]["results"]]


def partitions(server: Server, backfill_id: str) -> tuple[str, str]:
    (run,) = server.ask(RUNS, tag=backfill_id)["runsOrError"]["results"]
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    return tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]


def freshness(server: Server) -> str:
    return str(server.ask(FRESHNESS)["assetNodeOrError"]["freshnessStatusInfo"]["freshnessStatus"])


def is_kept(house: House) -> None:
    """What happened outlives the server: it stands in data/.dagster, not in a directory that goes away."""
    assert (house.data / ".dagster" / "history" / "runs.db").stat().st_size > 0
