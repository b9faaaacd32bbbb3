"""Helpers of the asset tests: a configuration in a directory, and runs of its graph on a Dagster instance."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import dagster as dg
import yaml

from quant_assets.definitions import build_definitions
from quant_assets.flows.gate import TwsGate
from quant_assets.flows.work import Work
from quant_assets.settings import Settings
from quant_assets_tests.builders import far_from_the_reset

SYMBOLS = ("ARCA:QMKT", "NASDAQ:QTEB", "NASDAQ:QFIA", "NYSE:QHEA", "NYSE:QEND", "NYSE:QUTA")
"""Six instruments that trade every minute of every session; no event is planted on them in the sessions used here."""

DATA = (
    "universe",
    "raw_instruments",
    "instruments",
    "execution",
    "exchanges",
    "raw_tws_bars",
    "raw_tws_daily_bars",
    "adjustment_factors",
    "curated_tws_1m_bars",
    "quarantine_tws_bars",
    "bar_accounting",
    "dq_metrics",
    "curated_tws_1d_bars",
    "features_price_1m_v1",
    "features_volume_1m_v1",
    "tv_technicals_1d",
    "labels_tws_returns",
    "certified_sessions",
)
ALPHA = ("candidates", "snapshots", "returns_matrix", "selection", "synthetic_returns", "weights", "report")

RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def manifest(**sections: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest; keyword arguments replace keys of its sections, and all profiles at once."""
    base: dict[str, dict[str, Any]] = {
        "lakehouse": {"calendars": ["XNYS"], "start_session": "2025-03-03", "lock_wait_s": 30},
        "tws": {"mode": "replay", "reset_window": far_from_the_reset()},
        "replay": {"market": "synthetic", "seed": 7, "time_scale": 1_000_000},
        "defaults": {
            "data": {"lookback_sessions": 30, "min_sessions_floor": 20},
            "discovery": {"lists": ["short"]},
            "risk": {"max_weight": 0.5, "sector_cap": 0.6},
        },
    }
    profiles = {"calm": {"risk": {"method": "min_variance"}}, "plain": {"risk": {"method": "equal_weight"}}}
    merged = {name: {**values, **sections.pop(name, {})} for name, values in base.items()}
    return {"default_profile": "calm", "production_profile": "plain", "profiles": profiles, **merged, **sections}


@dataclass
class House:
    """One data directory with its configuration, its definitions and a Dagster instance that lives as long as it."""

    root: Path
    sections: dict[str, Any] = field(default_factory=dict)
    symbols: Sequence[str] = SYMBOLS

    def __post_init__(self) -> None:
        self.name_symbols(self.symbols)
        (self.configs / "manifest.json").write_text(json.dumps(manifest(**self.sections)))
        self.instance = dg.DagsterInstance.ephemeral()
        self.runs: list[dg.ExecuteInProcessResult] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.instance.dispose()

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def configs(self) -> Path:
        return self.root / "configs"

    @cached_property
    def settings(self) -> Settings:
        return Settings.from_env({}, data=self.data, configs=self.configs)

    @cached_property
    def definitions(self) -> dg.Definitions:
        return build_definitions(self.settings)

    def name_symbols(self, symbols: Sequence[str], name: str = "short") -> None:
        """Write the list that the universe is made of."""
        path = self.configs / "lists" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({"symbols": list(symbols)}))

    def run(
        self, assets: Sequence[str], first: str | None = None, last: str | None = None
    ) -> dg.ExecuteInProcessResult:
        """Run assets as the UI would, over one partition or a closed range; never raises for a failed step."""
        single = first if last in (None, first) else None
        job = self.definitions.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(
            asset_selection=[dg.AssetKey(name) for name in assets],
            instance=self.instance,
            raise_on_error=False,
            partition_key=single,
            tags={} if single or first is None else dict(zip(RANGE, (first, str(last)), strict=True)),
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        self.runs.append(result)
        return result

    def run_data(self, first: str, last: str | None = None) -> dg.ExecuteInProcessResult:
        result = self.run(DATA, first, last)
        assert result.success, sentences(result)
        return result

    def run_alpha(self, first: str, last: str | None = None, profiles: tuple[str, str] = ("calm", "plain")) -> None:
        result = self.run(ALPHA, f"{profiles[0]}|{first}", f"{profiles[1]}|{last or first}")
        assert result.success, sentences(result)

    def published(self, asset: str) -> list[str]:
        """Return the partitions that Dagster knows as materialized."""
        return sorted(self.instance.get_materialized_partitions(dg.AssetKey(asset)))

    def last_materialization(self, asset: str, partition: str) -> dg.AssetMaterialization:
        """Return the newest materialization event of one partition."""
        records = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[partition]), limit=1
        ).records
        assert records, f"{asset}[{partition}] was never materialized"
        found = records[0].asset_materialization
        assert found is not None
        return found

    def work(self) -> Work:
        """Return a unit of work without a run, to read stores with."""
        return Work(self.settings, TwsGate(self.settings), run_id="test")

    def files(self) -> dict[str, int]:
        """Return every file but locks, the audit log and the pacing log with its modification time."""
        return {
            str(path.relative_to(self.data)): path.stat().st_mtime_ns
            for path in sorted(self.data.rglob("*"))
            if path.is_file() and "locks" not in path.parts and path.name != "audit.jsonl" and "pacing" not in path.name
        }


def sentences(result: dg.ExecuteInProcessResult) -> str:
    """Return what the failed steps of a run tell a person."""
    return "\n".join(text for _, text in failures(result))


def failures(result: dg.ExecuteInProcessResult) -> list[tuple[str, str]]:
    """Return (step, sentence) of each failed step; a stack instead of a sentence is told as such."""
    return [(event.step_key or "", _sentence(event)) for event in result.all_node_events if event.is_step_failure]


def _sentence(event: Any) -> str:
    data = event.step_failure_data
    return data.user_failure_data.description if data.user_failure_data else f"UNEXPECTED {data.error.to_string()}"


def metadata(result: dg.ExecuteInProcessResult) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
    """Return (asset, partition, metadata) of each materialization of a run."""
    for event in result.all_node_events:
        if event.is_step_materialization:
            made = event.event_specific_data.materialization
            yield made.asset_key.to_user_string(), made.partition, {k: v.value for k, v in made.metadata.items()}
