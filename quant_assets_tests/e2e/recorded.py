"""The recorded scenario: 62 real ETFs over 18 sessions, and the answers, computed from the file alone."""

import json
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

import polars as pl
import yaml

from quant_assets.settings import Settings

FIRST, LAST = date(2019, 12, 16), date(2020, 1, 10)
HOLIDAYS = {date(2019, 12, 25), date(2020, 1, 1)}
HALF_DAY = date(2019, 12, 24)
SESSIONS = [
    day for day in pl.date_range(FIRST, LAST, eager=True).to_list() if day.weekday() < 5 and day not in HOLIDAYS
]
PRICES = ["open", "high", "low", "close"]


@dataclass(frozen=True)
class Recording:
    """The file, read without any code of the product."""

    path: Path

    @cached_property
    def rows(self) -> pl.DataFrame:
        """Rows of the scenario's symbols and sessions in file order, nulls included; local wall time as text."""
        everything = pl.read_parquet(self.path)
        most = everything.group_by("symbol").len().sort("len", "symbol", descending=[True, False]).head(60)
        symbols = [*most["symbol"].to_list(), "UGAZ", "FUTS"]
        return (
            everything.filter(pl.col("symbol").is_in(symbols))
            .with_columns(
                pl.col("datetime").str.slice(0, 10).str.to_date().alias("session"),
                pl.col("datetime").str.slice(11, 5).alias("clock"),
                pl.col("datetime").str.to_datetime(time_unit="us", time_zone="UTC").alias("ts"),
            )
            .sort("symbol", "file_row")
        )

    @cached_property
    def served(self) -> pl.DataFrame:
        """Rows that can cross the wire, of the scenario's sessions."""
        return self.rows.filter(pl.all_horizontal(pl.col(PRICES).is_not_null()), pl.col("session").is_in(SESSIONS))

    @property
    def symbols(self) -> list[str]:
        """The scenario's symbols."""
        return self.rows["symbol"].unique().sort().to_list()


def make_settings(directory: Path, recording: Recording) -> Settings:
    """Write the configuration of the scenario below `directory`."""
    configs = directory / "configs"
    (configs / "lists").mkdir(parents=True)
    (configs / "lists" / "recorded.yaml").write_text(yaml.safe_dump({"symbols": recording.symbols}))
    manifest = {
        "default_profile": "recorded",
        "lakehouse": {"start_session": str(FIRST)},
        "replay": {"market": str(recording.path), "symbols": recording.symbols, "time_scale": 100000},
        "profiles": {
            "recorded": {
                "data": {"lookback_sessions": 15, "min_sessions_floor": 10},
                "discovery": {"lists": ["recorded"]},
                "selection": {"top_n": 20, "min_price": 1.0, "min_dollar_volume": 1e6, "min_coverage": 0.6},
                "risk": {"method": "hrp", "max_weight": 0.2, "sector_cap": 1.0},
            }
        },
    }
    (configs / "manifest.json").write_text(json.dumps(manifest))
    return Settings.from_env({}, data=directory / "data", configs=configs)
