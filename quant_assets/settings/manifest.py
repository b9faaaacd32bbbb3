"""configs/manifest.json: what is ingested, from where, and how each profile turns it into weights."""

import json
from collections.abc import Mapping
from datetime import date, time
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from quant_assets.errors import ConfigurationError, UnknownNameError
from quant_assets.settings.names import safe_name, split_qualified

Method = Literal[
    "equal_weight",
    "min_variance",
    "hrp",
    "herc",
    "risk_parity",
    "max_sharpe",
    "cvar",
    "barbell",
    "adaptive",
]
Metric = Literal["momentum", "stability", "liquidity", "entropy", "efficiency", "hurst", "cvar", "skew", "kurtosis"]
Logic = Literal["long_only", "momentum", "reversion", "trend"]


class _Strict(BaseModel):
    """Unknown keys are errors: a misspelt key must never be a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LakehouseConfig(_Strict):
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
    base_currency: str = "USD"
    fetch_throttle_hours: float = Field(default=12.0, ge=0)
    reread_previous_session: bool = True
    """Fetch a session once more with the one after it, when it had been fetched on its own day: vendors revise."""
    lock_wait_s: float = Field(default=600.0, ge=0)


class DailyHours(_Strict):
    """A part of each day, in New York time; it may pass midnight."""

    start: time
    end: time

    @model_validator(mode="after")
    def _has_length(self) -> "DailyHours":
        if self.start == self.end:
            raise ValueError(f"start and end are both {self.start:%H:%M}")
        return self


class TwsConfig(_Strict):
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


class ReplayConfig(_Strict):
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
    port: int = Field(default=0, ge=0, le=65535)
    """0 starts the gateway inside the process; else `quant gateway serve` runs there, at the same `time_scale`."""


class SymbologyConfig(_Strict):
    """Names that mean the same instrument."""

    aliases: Mapping[str, str] = Field(default_factory=dict)


class DataConfig(_Strict):
    """How much history a profile needs."""

    lookback_sessions: int = Field(default=500, ge=2)
    min_sessions_floor: int = Field(default=320, ge=2)
    stale_policy: Literal["fail", "warn", "allow"] = "fail"

    @model_validator(mode="after")
    def _floor_fits(self) -> "DataConfig":
        if self.min_sessions_floor > self.lookback_sessions:
            raise ValueError(
                f"min_sessions_floor {self.min_sessions_floor} exceeds lookback_sessions {self.lookback_sessions}"
            )
        return self


class DiscoveryConfig(_Strict):
    """Where a profile's instruments come from: lists in configs/lists, scanners in configs/scanners."""

    lists: tuple[str, ...] = ()
    scanners: tuple[str, ...] = ()


class Bounds(_Strict):
    """What a metric may be at least and at most; outside is a veto."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> "Bounds":
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} exceeds max {self.max:g}")
        return self


_SCORE_WEIGHTS: Mapping[Metric, float] = {
    "momentum": 1.0,
    "stability": 1.0,
    "liquidity": 1.0,
    "efficiency": 1.0,
    "cvar": 1.0,
}
_VETOES: Mapping[Metric, Bounds] = {"cvar": Bounds(max=0.15), "kurtosis": Bounds(max=100.0)}


class SelectionConfig(_Strict):
    """The screen that turns the universe into candidates, and the scores that turn candidates into a selection."""

    top_n: int = Field(default=25, ge=1)
    min_price: float = Field(default=1.0, ge=0)
    min_dollar_volume: float = Field(default=1e6, ge=0)
    min_coverage: float = Field(default=0.9, ge=0, le=1)
    ranking: Literal["dollar_volume", "momentum", "low_volatility"] = "dollar_volume"
    score_weights: Mapping[Metric, float] = Field(default_factory=lambda: dict(_SCORE_WEIGHTS))
    """Metric → its weight in the score; they are scaled to a sum of 1."""
    vetoes: Mapping[Metric, Bounds] = Field(default_factory=lambda: dict(_VETOES))
    """Metric → bounds; who is outside is rejected whatever its score, and no relaxation lifts that."""
    threshold: float = Field(default=0.0, ge=0, lt=1)
    """The least score; scores are in (0, 1]."""
    max_clusters: int = Field(default=10, ge=1)
    top_n_per_cluster: int = Field(default=5, ge=1)
    min_selected: int = Field(default=5, ge=1)
    """With fewer than this, threshold and top_n_per_cluster are relaxed step by step, on record."""

    @field_validator("score_weights")
    @classmethod
    def _weigh_something(cls, weights: Mapping[str, float]) -> Mapping[str, float]:
        if any(not 0 <= weight < float("inf") for weight in weights.values()) or not sum(weights.values()) > 0:
            raise ValueError("weights must be finite, not negative, and one of them positive")
        return weights


class AtomConfig(_Strict):
    """One way to trade every selected instrument."""

    logic: Logic = "long_only"
    direction: Literal["LONG", "SHORT"] = "LONG"
    timescale: int = Field(default=63, ge=2, le=1000)
    """Sessions that the logic looks back; `long_only` looks at nothing, and has none."""

    @model_validator(mode="after")
    def _long_only_is_long(self) -> "AtomConfig":
        if self.logic == "long_only" and self.direction == "SHORT":
            raise ValueError("long_only is LONG; a short atom needs momentum, reversion or trend")
        return self


class SynthesisConfig(_Strict):
    """The atoms that are made of every selected instrument."""

    atoms: tuple[AtomConfig, ...] = Field(default=(AtomConfig(),), min_length=1)

    @field_validator("atoms")
    @classmethod
    def _atoms_differ(cls, atoms: tuple[AtomConfig, ...]) -> tuple[AtomConfig, ...]:
        if len({one if one.logic != "long_only" else AtomConfig() for one in atoms}) < len(atoms):
            raise ValueError("two atoms are the same")
        return atoms


class RiskConfig(_Strict):
    """How candidates become weights."""

    method: Method = "min_variance"
    max_weight: float = Field(default=0.15, gt=0, le=1)
    sector_cap: float = Field(default=0.40, gt=0, le=1)
    cluster_cap: float = Field(default=0.25, gt=0, le=1)
    max_turnover: float | None = Field(default=None, gt=0, le=2)
    """Half the sum of |weight now - weight of the run before|; 1 exchanges the whole portfolio."""
    max_abs_return: float = Field(default=5.0, gt=0)
    max_missing_fraction: float = Field(default=0.10, ge=0, lt=1)


class CostsConfig(_Strict):
    """What trading is estimated to cost."""

    schedule: Literal["ibkr_fixed_us", "none"] = "ibkr_fixed_us"
    capital: float = Field(default=100_000.0, gt=0)
    """Capital in USD that the weights are of."""


class Profile(_Strict):
    """One way from the universe to weights."""

    active: bool = True
    description: str = ""
    data: DataConfig = DataConfig()
    discovery: DiscoveryConfig = DiscoveryConfig()
    selection: SelectionConfig = SelectionConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    risk: RiskConfig = RiskConfig()
    costs: CostsConfig = CostsConfig()


class Manifest(_Strict):
    """The whole file, with `defaults` merged into every profile and aliases resolved."""

    default_profile: str
    production_profile: str
    lakehouse: LakehouseConfig = LakehouseConfig()
    tws: TwsConfig = TwsConfig()
    replay: ReplayConfig = ReplayConfig()
    symbology: SymbologyConfig = SymbologyConfig()
    profiles: Mapping[str, Profile]
    aliases: Mapping[str, str] = Field(default_factory=dict)

    @field_validator("profiles", "aliases")
    @classmethod
    def _names_are_safe(cls, named: Mapping[str, Any]) -> Mapping[str, Any]:
        for name in named:
            safe_name("profile", name)
        return named

    @field_validator("symbology")
    @classmethod
    def _aliases_are_symbols(cls, symbology: SymbologyConfig) -> SymbologyConfig:
        for alias, target in symbology.aliases.items():
            split_qualified(alias), split_qualified(target)
        return symbology

    @property
    def active_profiles(self) -> dict[str, Profile]:
        """Profiles that are ingested for and that have partitions, by name."""
        return {name: profile for name, profile in sorted(self.profiles.items()) if profile.active}

    @property
    def max_lookback_sessions(self) -> int:
        """The longest daily window that any active profile asks for."""
        return max((profile.data.lookback_sessions for profile in self.active_profiles.values()), default=2)

    def resolve(self, name: str) -> str:
        """Return the real profile that a name or alias stands for.

        Raises:
            UnknownNameError: there is no such profile.
        """
        real = self.aliases.get(name, name)
        if real not in self.profiles:
            raise UnknownNameError("profile", name, [*self.profiles, *self.aliases])
        return real

    def profile(self, name: str) -> Profile:
        """Return a profile by name or alias.

        Raises:
            UnknownNameError: there is no such profile.
        """
        return self.profiles[self.resolve(name)]


def load_manifest(
    path: Path,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    origins: Mapping[str, str] | None = None,
) -> Manifest:
    """Read and validate a manifest.

    Args:
        path: the file.
        overrides: section → key → value, which replace what the file says (from environment or command line).
        origins: `section.key` → where its override comes from, for messages.

    Raises:
        ConfigurationError: the file is absent, is no JSON, or a key or value is wrong; names file, key and what is
            legal.
    """
    raw = _read_json(path)
    for section, values in (overrides or {}).items():
        held = raw.get(section, {})
        raw[section] = {**held, **values} if isinstance(held, dict) else held
    try:
        return Manifest.model_validate(_expand(raw, path))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        where = (origins or {}).get(key, str(path))
        raise ConfigurationError(f"{where}, key {key!r}", f"{first['msg']} (got {first['input']!r}).") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            str(path), "the manifest does not exist.", "Set QUANT_CONFIGS, or restore the file."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            str(path), f"the manifest cannot be read ({error}).", "Check its permissions and encoding."
        ) from None
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"{path}, line {error.lineno}", f"not valid JSON: {error.msg}.", "Mend the syntax."
        ) from None
    if not isinstance(raw, dict):
        raise ConfigurationError(str(path), "the manifest must be a JSON object.")
    return raw


def _expand(raw: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Merge `defaults` into every profile and turn string profiles into aliases."""
    result = dict(raw)
    defaults = result.pop("defaults", {})
    declared = result.get("profiles", {})
    if not isinstance(defaults, dict):
        raise ConfigurationError(f"{path}, key 'defaults'", f"it must be an object (got {defaults!r}).")
    if "aliases" in result:
        raise ConfigurationError(
            f"{path}, key 'aliases'",
            "an alias is a profile whose value is a name.",
            'Write "alias": "name" in profiles.',
        )
    if not isinstance(declared, dict) or not declared:
        raise ConfigurationError(f"{path}, key 'profiles'", "at least one profile is needed.")
    aliases = {name: value for name, value in declared.items() if isinstance(value, str)}
    result["aliases"] = {name: _follow(name, aliases, declared, path) for name in aliases}
    result["profiles"] = {
        name: _merged(defaults, value) for name, value in declared.items() if not isinstance(value, str)
    }
    for key in ("default_profile", "production_profile"):
        name = result.setdefault(key, result.get("default_profile", "default"))
        if not isinstance(name, str) or name not in declared:
            raise ConfigurationError(
                f"{path}, key {key!r}", f"there is no profile {name!r}.", f"Known: {', '.join(declared)}."
            )
    return result


def _follow(name: str, aliases: Mapping[str, str], declared: Mapping[str, Any], path: Path) -> str:
    seen = [name]
    while (target := aliases.get(seen[-1])) is not None:
        if target in seen:
            raise ConfigurationError(
                f"{path}, key 'profiles.{name}'", f"aliases form a cycle: {' → '.join([*seen, target])}."
            )
        seen.append(target)
    if seen[-1] not in declared:
        raise ConfigurationError(f"{path}, key 'profiles.{name}'", f"alias of {seen[-1]!r}, which does not exist.")
    return seen[-1]


def _merged(base: Any, top: Any) -> Any:
    """Merge mappings deeply; anything else in `top` replaces."""
    if isinstance(base, dict) and isinstance(top, dict):
        return {key: _merged(base.get(key), top[key]) if key in top else base[key] for key in {**base, **top}}
    return top
