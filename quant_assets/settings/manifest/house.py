"""Sections of configs/manifest.json that hold for the whole house."""

from collections.abc import Mapping
from datetime import date, time
from typing import Literal

from pydantic import Field, model_validator

from quant_assets.settings.manifest.base import Strict


class LakehouseConfig(Strict):
    """Calendars and conventions of the whole lakehouse."""

    calendars: tuple[str, ...] = Field(default=("XNYS",), min_length=1)
    """A day is a session when any of these trades: names of exchange_calendars, `24/7`, or `FX` for spot currencies."""
    venues: Mapping[str, str] = Field(default_factory=dict)
    """Exchange code or asset class -> calendar, for what is not known or is known otherwise."""
    fetch_delay_minutes: float = Field(default=15.0, ge=0)
    """How long after its own exchange's close a series is not asked yet."""
    start_session: date = date(2024, 1, 2)
    use_rth: bool = True
    canonical_timeframe: Literal["1 min"] = "1 min"
    """Length of the bars that sessions are kept in. Tables and features count minutes, so that another is refused."""
    base_currency: str = "USD"
    fetch_throttle_hours: float = Field(default=12.0, ge=0)
    repair_min_minutes: int = Field(default=1, ge=1)
    """A repair asks for a session of an instrument again when at least so many of its minutes are unexplained."""
    max_unexplained: float = Field(default=0.01, ge=0, le=1)
    """Share of a session's expected minutes that may stay unexplained; beyond it a check warns, and the session is not
    certified. Of an instrument's open minutes: from where the certificate names it as degraded."""
    max_quarantined: float = Field(default=0.05, ge=0, le=1)
    """Share of an instrument's served minutes that quarantine may take before the instrument is degraded."""
    max_degraded: float = Field(default=0.1, ge=0, le=1)
    """Share of a session's instruments that quarantine may degrade before the session is not certified; a single one
    beside sound ones never holds up the others."""
    reread_previous_session: bool = True
    """Fetch a session once more with the one after it, when it had been fetched on its own day: vendors revise."""
    lock_wait_s: float = Field(default=600.0, ge=0)


class DailyHours(Strict):
    """A part of each day, in New York time; it may pass midnight."""

    start: time
    end: time

    @model_validator(mode="after")
    def _has_length(self) -> "DailyHours":
        if self.start == self.end:
            raise ValueError(f"start and end are both {self.start:%H:%M}")
        return self


class TwsConfig(Strict):
    """How TWS is reached and how hard it may be asked."""

    mode: Literal["replay", "live"] = "replay"
    host: str = "127.0.0.1"
    port: int = Field(default=7497, ge=1, le=65535)
    client_id: int = Field(default=31, ge=0)
    client_id_range: int = Field(default=8, ge=1)
    connect_timeout_s: float = Field(default=8.0, gt=0)
    request_timeout_s: float = Field(default=60.0, gt=0)
    max_requests_per_10_min: int = Field(default=55, ge=1, le=60)
    max_in_flight: int = Field(default=6, ge=1, le=50)
    max_minute_duration: Literal["1 D", "1 W", "2 W", "1 M"] = "1 W"
    attempts: int = Field(default=5, ge=1)
    outage_s: float = Field(default=3 * 3600.0, gt=0)
    """How long one outage is waited out before a run gives up."""
    reset_window: DailyHours = DailyHours(start=time(23, 40), end=time(1, 50))
    """When IBKR's servers and TWS restart: an outage that begins inside is waited out at least until its end."""
    quiet_hours: DailyHours | None = None
    """When nothing is asked of a live TWS."""
    contract_confirmations: int = Field(default=2, ge=1)
    """On how many connections TWS has to deny a contract before it counts as unknown."""


class ReplayConfig(Strict):
    """The replay gateway, used when `tws.mode` is `replay`."""

    market: str = "synthetic"
    """`synthetic`, or the path of a Parquet recording."""
    symbols: tuple[str, ...] = ()
    """Of a recording, serve only these; empty serves all."""
    seed: int = 7
    time_scale: float = Field(default=600.0, gt=0)
    """The gateway's pacing clock runs this many times as fast; the rules keep their documented numbers."""
    faults: str = ""
    """Path of a fault script to play, such as `configs/faults/flaky_day.yaml`; empty plays none."""
    positions: Mapping[str, float] = Field(default_factory=dict)
    """What the gateway's account holds: `EXCHANGE:SYMBOL` -> quantity."""
    port: int = Field(default=0, ge=0, le=65535)
    """0 starts the gateway inside the process; else `quant gateway serve` runs there, at the same `time_scale`."""


class PositionsConfig(Strict):
    """Whether TWS is asked what the accounts hold. Off by default: then no account message is ever sent."""

    enabled: bool = False


class CaptureConfig(Strict):
    """Near real time: minutes of open sessions, staged until the close. Off by default."""

    enabled: bool = False
    every_s: float = Field(default=300.0, ge=10)
    """Seconds between two rounds; each asks once per instrument, under the same pacing as everything else."""


class SymbologyConfig(Strict):
    """Names that mean the same instrument."""

    aliases: Mapping[str, str] = Field(default_factory=dict)


class TradingViewConfig(Strict):
    """How TradingView's scanner is reached. Off by default: no request is sent before it is enabled."""

    enabled: bool = False
    base_url: str = Field(default="https://scanner.tradingview.com", pattern=r"^https?://[^\s/]+(:\d+)?/?$")
    market: str = Field(default="america", pattern=r"^[a-z]+$")
    """Part of the address: `america`, `germany`, `forex`, …"""
    technicals: bool = False
    """Ask TradingView for `tv_technicals_1d` of the latest session; what it leaves out is computed locally."""
    connect_timeout_s: float = Field(default=5.0, gt=0)
    read_timeout_s: float = Field(default=20.0, gt=0)
    attempts: int = Field(default=4, ge=1)
    min_interval_s: float = Field(default=1.0, ge=0)
    """Seconds between two requests, at the least."""
    page_size: int = Field(default=100, ge=1, le=500)


class BudgetsConfig(Strict):
    """How long runs may take. Exceeding one is a warning with the figure, never a failure."""

    daily_minutes: float | None = Field(default=60.0, gt=0)
    """A run over one session; null is no limit."""
    backfill_minutes: float | None = Field(default=720.0, gt=0)
    """A run over several sessions; null is no limit."""


class MlflowConfig(Strict):
    """Finished runs as MLflow runs, for comparison in its UI; the run directory stays the record."""

    enabled: bool = False
    experiment: str = Field(default="quant_assets", min_length=1)
    database: str = Field(default="artifacts/mlflow.db", min_length=1)
    """SQLite file, relative to the data directory."""


class TrackingConfig(Strict):
    """Where finished runs are told of, beside their directories."""

    mlflow: MlflowConfig = MlflowConfig()
