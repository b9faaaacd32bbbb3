"""Sections of configs/manifest.json that each profile has its own of."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, field_validator, model_validator

from quant_assets.settings.manifest.base import Strict

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
Metric = Literal[
    "momentum",
    "stability",
    "liquidity",
    "entropy",
    "efficiency",
    "hurst",
    "adx",
    "cvar",
    "skew",
    "kurtosis",
]
Logic = Literal["long_only", "momentum", "reversion", "trend"]


class DataConfig(Strict):
    """How much history a profile needs."""

    lookback_sessions: int = Field(default=500, ge=2)
    min_sessions_floor: int = Field(default=320, ge=2)
    stale_policy: Literal["fail", "warn", "allow"] = "fail"
    strict_health: bool = False
    """Candidates need a newest daily bar whose quality rules all passed, not only one that none of them refused."""

    @model_validator(mode="after")
    def _floor_fits(self) -> "DataConfig":
        if self.min_sessions_floor > self.lookback_sessions:
            raise ValueError(
                f"min_sessions_floor {self.min_sessions_floor} exceeds lookback_sessions {self.lookback_sessions}"
            )
        return self


class DiscoveryConfig(Strict):
    """Where a profile's instruments come from: lists in configs/lists, scanners in configs/scanners."""

    lists: tuple[str, ...] = ()
    scanners: tuple[str, ...] = ()
    interval: Literal["1h", "4h", "1d", "1W", "1M"] = "1d"
    """Bars behind the indicators that a TradingView scanner filters and ranks by."""
    strict: bool = True
    """A record that TWS does not know, or that is malformed, fails discovery; else it is dropped and counted.
    A scanner's own `strict` goes before this. A listed symbol that TWS knew before is set aside and named."""


class FeaturesConfig(Strict):
    """Which features the candidates of a profile stand on."""

    groups: tuple[str, ...] = ()
    """Tables of feature groups that must be published before candidates are judged, `tv_technicals_1d` for example."""


class Bounds(Strict):
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


class SelectionConfig(Strict):
    """The screen that turns the universe into candidates, and the scores that turn candidates into a selection."""

    top_n: int = Field(default=25, ge=1)
    min_price: float = Field(default=1.0, ge=0)
    min_dollar_volume: float = Field(default=1e6, ge=0)
    min_coverage: float = Field(default=0.9, ge=0, le=1)
    ranking: Literal["dollar_volume", "momentum", "low_volatility"] = "dollar_volume"
    direction: Literal["LONG", "SHORT"] = "LONG"
    """Side that the candidates are meant for; SHORT ranks by the weakest momentum."""
    screens: tuple[str, ...] = ()
    """Scanners over the lakehouse whose filters every candidate passes, with the features of the session itself."""
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


class AtomConfig(Strict):
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


class SynthesisConfig(Strict):
    """The atoms that are made of every selected instrument."""

    atoms: tuple[AtomConfig, ...] = Field(default=(AtomConfig(),), min_length=1)

    @field_validator("atoms")
    @classmethod
    def _atoms_differ(cls, atoms: tuple[AtomConfig, ...]) -> tuple[AtomConfig, ...]:
        if len({one if one.logic != "long_only" else AtomConfig() for one in atoms}) < len(atoms):
            raise ValueError("two atoms are the same")
        return atoms


class RiskConfig(Strict):
    """How candidates become weights."""

    method: Method = "min_variance"
    max_weight: float = Field(default=0.15, gt=0, le=1)
    sector_cap: float = Field(default=0.40, gt=0, le=1)
    cluster_cap: float = Field(default=0.25, gt=0, le=1)
    max_turnover: float | None = Field(default=None, gt=0, le=2)
    """Half the sum of |weight now - weight of the run before|; 1 exchanges the whole portfolio."""
    max_abs_return: float = Field(default=5.0, gt=0)
    max_missing_fraction: float = Field(default=0.10, ge=0, lt=1)


class CostsConfig(Strict):
    """What trading is estimated to cost."""

    schedule: Literal["ibkr_fixed_us", "none"] = "ibkr_fixed_us"
    capital: float = Field(default=100_000.0, gt=0)
    """Capital in USD that the weights are of."""
    slippage_bps: float = Field(default=5.0, ge=0, le=1000)
    """Assumed distance between the last price and the fill, in basis points of what is traded."""


class SleeveConfig(Strict):
    """One finished run inside a meta portfolio."""

    profile: str = ""
    """Whose weights the sleeve is made of; the sleeve's own name when left out."""
    min_weight: float = Field(default=0.0, ge=0, le=1)
    max_weight: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _bounds_fit(self) -> "SleeveConfig":
        if self.min_weight > self.max_weight:
            raise ValueError(f"min_weight {self.min_weight:g} exceeds max_weight {self.max_weight:g}")
        return self


class Profile(Strict):
    """One way from the universe to weights."""

    active: bool = True
    description: str = ""
    data: DataConfig = DataConfig()
    discovery: DiscoveryConfig = DiscoveryConfig()
    features: FeaturesConfig = FeaturesConfig()
    selection: SelectionConfig = SelectionConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    risk: RiskConfig = RiskConfig()
    costs: CostsConfig = CostsConfig()
    sleeves: Mapping[str, SleeveConfig] = Field(default_factory=dict)
    """Profiles that this one combines into a meta portfolio; empty where it makes weights of its own candidates."""

    @field_validator("sleeves")
    @classmethod
    def _sleeves_can_sum_to_one(cls, sleeves: Mapping[str, SleeveConfig]) -> Mapping[str, SleeveConfig]:
        least = sum(one.min_weight for one in sleeves.values())
        most = sum(one.max_weight for one in sleeves.values())
        if sleeves and (least > 1 or most < 1):
            raise ValueError(f"the sleeves hold {least:g} to {most:g} of the capital together; 1 must lie between")
        return sleeves

    @model_validator(mode="after")
    def _sleeves_limit_turnover_themselves(self) -> "Profile":
        if self.sleeves and self.risk.max_turnover is not None:
            raise ValueError("risk.max_turnover is not kept by a meta portfolio; set it in the profiles of its sleeves")
        return self


PROFILE_SECTIONS = tuple(name for name, field in Profile.model_fields.items() if name not in ("active", "description"))
"""Sections that `defaults`, the environment and the command line may set for every profile."""
