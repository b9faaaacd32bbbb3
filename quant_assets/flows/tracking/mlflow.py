"""MLflow: one MLflow run per finished run of the alpha cycle, in a SQLite file, without a server.

The run is sealed before, and nothing is written into its directory. The network stays sealed while MLflow works, and
its own telemetry is switched off, so that tracking opens no way out that the alpha cycle does not have.
"""

import logging
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quant_assets.control.seal import network_seal
from quant_assets.domain.run_files import (
    INDEX,
    MANIFEST,
    PICTURE,
    REPORT,
    REPORT_TEXT,
    RESOLVED,
    WEIGHTS_RECORD,
    WEIGHTS_TEXT,
)
from quant_assets.errors import ConfigurationError
from quant_assets.flows.work import Work
from quant_assets.lakehouse.runs import RunDirectory
from quant_assets.settings.environment import suggest
from quant_assets.settings.nested import leaves

ARTIFACTS = (
    MANIFEST,
    INDEX,
    RESOLVED,
    WEIGHTS_TEXT,
    WEIGHTS_RECORD,
    REPORT_TEXT,
    REPORT,
    PICTURE,
)
"""Files of a run that are worth looking at beside others."""

NOT_TRACKED = "mlflow_warning"
"""Metadata that tells of a failure."""

_MAX_VALUE = 500
_TAG = "quant.run_id"
_SILENT = ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tracked:
    """What MLflow holds of a run."""

    mlflow_run_id: str
    database: Path
    is_new: bool
    """False where it held the run already."""
    n_params: int
    n_metrics: int
    n_artifacts: int


def tracked(work: Work, run: RunDirectory) -> dict[str, str]:
    """Track a finished run where that is enabled; return metadata that tells of it, or of the failure.

    Tracking never fails a run: whatever goes wrong is a warning, in the log, the audit log and the metadata.
    """
    if not work.settings.manifest.tracking.mlflow.enabled:
        return {}
    try:
        done = track_run(work, run)
    except Exception as error:  # noqa: BLE001 - another program's failure must not become ours
        told = f"the run is not tracked: {str(error) or type(error).__name__}"
        _log.warning("%s: %s", run.run_id, told)
        work.audit.record("tracking", run_id=run.run_id, status="warn", why=told)
        return {NOT_TRACKED: told}
    work.audit.record("tracking", run_id=run.run_id, status="ok", mlflow_run_id=done.mlflow_run_id)
    return {"mlflow": done.mlflow_run_id}


def track_run(work: Work, run: RunDirectory) -> Tracked:
    """Log parameters, metrics and artifacts of a finished run, once.

    Raises:
        ConfigurationError: MLflow is not installed, or the run is not finished.
        CorruptFileError: the run cannot be read.
    """
    if not run.is_finished:
        raise ConfigurationError(
            f"run {run.run_id}", "it is not finished, so there is nothing to track yet.", "Run `quant flow alpha`."
        )
    config = work.settings.manifest.tracking.mlflow
    database = work.settings.data / config.database
    params, metrics, tags = _params(run), dict(_metrics(run)), _tags(run)
    files = [run.file(name) for name in ARTIFACTS if run.file(name).is_file()]
    with network_seal():
        client = _client(database)
        experiment = _experiment(client, config.experiment, database.parent)
        found = client.search_runs([experiment], f"tags.`{_TAG}` = '{run.run_id}' and attributes.status = 'FINISHED'")
        if found:
            return Tracked(found[0].info.run_id, database, False, len(params), len(metrics), len(files))
        created = client.create_run(experiment, tags=tags, run_name=run.run_id)
        _fill(client, created.info.run_id, params, metrics, files)
    return Tracked(created.info.run_id, database, True, len(params), len(metrics), len(files))


def _client(database: Path) -> Any:
    """Open MLflow's client on a SQLite file; imports it, which takes seconds.

    Raises:
        ConfigurationError: it is not installed.
    """
    suggest(_SILENT, "true")
    try:
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise ConfigurationError(
            "tracking.mlflow",
            f"MLflow is not installed ({error}).",
            "pip install 'quant_assets[mlflow]', or set tracking.mlflow.enabled to false.",
        ) from None
    _require_database(database)
    return MlflowClient(tracking_uri=f"sqlite:///{database}")


def _require_database(database: Path) -> None:
    """Refuse a file that is no database: MLflow would try it again and again for minutes.

    Raises:
        ConfigurationError: it cannot be opened, or is something else.
    """
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA schema_version")
    except (OSError, sqlite3.Error) as error:
        raise ConfigurationError(
            "tracking.mlflow.database", f"{database} is no SQLite file that can be used ({error}).", "Name another one."
        ) from None


def _experiment(client: Any, name: str, directory: Path) -> str:
    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    return str(client.create_experiment(name, artifact_location=(directory / "mlflow").as_uri()))


def _fill(client: Any, run_id: str, params: Mapping[str, str], metrics: Mapping[str, float], files: list[Path]) -> None:
    """Fill a new MLflow run; what breaks in the middle is marked as failed, and is tracked again next time."""
    try:
        for key, text in params.items():
            client.log_param(run_id, key, text)
        for key, number in metrics.items():
            client.log_metric(run_id, key, number)
        for file in files:
            client.log_artifact(run_id, str(file))
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id, "FINISHED")


def _params(run: RunDirectory) -> dict[str, str]:
    """Return the resolved profile as flat texts."""
    return {key: str(value)[:_MAX_VALUE] for key, value in leaves(run.resolved)}


def _metrics(run: RunDirectory) -> Iterator[tuple[str, float]]:
    """Yield the numbers of the weights' record: exposures, cash, sectors, diagnostics, costs."""
    record = run.read_json(WEIGHTS_RECORD)
    skipped = ("weights", "atoms", "findings", "fallbacks")
    for key, value in leaves({name: part for name, part in record.items() if name not in skipped}):
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield _metric_name(key), float(value)
    yield "n_fallbacks", float(len(record["fallbacks"]))
    yield "n_weights", float(sum(one["weight"] != 0 for one in record["weights"]))
    yield "n_instruments", float(len(run.inputs["instruments"]))
    yield "n_sessions", float(len(run.inputs["window"]))


def _metric_name(key: str) -> str:
    """Return a name of letters, digits, blanks and `_-./`, which is what MLflow accepts."""
    return "".join(sign if sign.isalnum() or sign in "_-./ " else "_" for sign in key)


def _tags(run: RunDirectory) -> dict[str, str]:
    inputs = run.inputs
    names = ("session", "profile", "merkle_root", "code_version", "known_basis", "is_pit")
    return {_TAG: run.run_id, **{f"quant.{name}": str(inputs[name]) for name in names if name in inputs}}
