"""The `quality` section of configs/manifest.json: what counts as wrong, per asset class, and what becomes of it."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from quant_assets.settings.manifest.base import Strict

Severity = Literal["ok", "warn", "error", "quarantine"]
"""ok: counted only. warn, error: the row stays, and says so. quarantine: the row does not enter silver."""

RuleName = Literal[
    "price_missing",
    "price_not_positive",
    "price_above_limit",
    "outside_session",
    "off_minute",
    "ohlc_order",
    "volume_negative",
    "volume_contradicted",
    "unknown_series",
    "other_session",
    "other_symbol",
    "unfinished_bar",
    "shifted_hours",
    "duplicate_conflicting",
    "duplicate_equal",
    "toxic_price",
    "far_outside_daily_range",
    "volume_unit",
    "confirmed",
    "out_of_order",
    "real_move",
    "unexplained_break",
    "rescaled",
    "stale_repeat",
    "outside_daily_range",
    "other_basis",
    "session_volume_unit",
    "volume_tenfold",
    "wap_outside_bar",
    "filler",
]

ImputedColumn = Literal["open", "high", "low", "close", "volume"]

RULE_NAMES: tuple[RuleName, ...] = get_args(RuleName)

PRICES = ("open", "high", "low", "close")

HARD: frozenset[RuleName] = frozenset(
    {
        "price_missing",
        "price_not_positive",
        "off_minute",
        "ohlc_order",
        "volume_negative",
        "other_session",
        "duplicate_conflicting",
        "duplicate_equal",
        "confirmed",
    }
)
"""Rules that silver's own schema rests on, and a person's own word; their severity is always `quarantine`."""


class Thresholds(Strict):
    """The numbers that the rules compare with, for one asset class."""

    series: tuple[str, ...] = ("TRADES",)
    """TWS series that silver is made from."""
    max_price: float = Field(default=2e6, gt=0)
    max_jump: float = Field(default=6.0, gt=1)
    """Largest factor between neighbouring prices that needs no explanation; the same up and down."""
    stale_bars: int = Field(default=5, ge=2)
    """Bars in a row with equal prices, volume and number of trades that a stuck feed is suspected of."""
    shifted_minutes: int = Field(default=15, ge=2)
    """Minutes outside the session, with as many missing at its other end, from which a whole answer is shifted."""
    shifted_dense_minutes: int = Field(default=2, ge=2)
    """The same of an answer with a bar in nearly every minute, which lacks exactly as many as spill over."""
    trade_size_factor: float = Field(default=20.0, gt=1)
    """How many times larger or smaller than its session's a bar's mean trade is before its volume is doubted."""
    trade_size_doubt: float = Field(default=4.0, gt=1)
    """How many times larger a bar's mean trade is before its volume may be ten times too large."""
    wap_tolerance: float = Field(default=0.005, ge=0)
    """Relative distance outside a bar's own range that its average price may have: late trades count for it alone."""
    daily_tolerance: float = Field(default=0.005, ge=0)
    """Relative distance outside the daily bar's range that is no matter; also of high, low and close themselves."""
    daily_reject: float = Field(default=0.05, gt=0)
    """Relative distance outside the daily bar's range from which a price cannot be."""
    volume_tolerance: float = Field(default=0.05, ge=0)
    """Relative difference between the daily volume and the sum of its minutes that is no matter."""

    @model_validator(mode="after")
    def _reject_is_wider(self) -> "Thresholds":
        if self.daily_reject < self.daily_tolerance:
            raise ValueError(f"daily_reject {self.daily_reject:g} is below daily_tolerance {self.daily_tolerance:g}")
        return self


_CLASSES: Mapping[str, Mapping[str, Any]] = {
    "STK": {},
    "CASH": {
        "series": ("MIDPOINT", "BID", "ASK"),
        "max_price": 1e6,
        "max_jump": 1.5,
        "stale_bars": 60,
        "daily_tolerance": 0.002,
        "daily_reject": 0.02,
    },
    "CRYPTO": {"series": ("AGGTRADES", "TRADES", "MIDPOINT"), "max_price": 1e7, "max_jump": 3.0, "stale_bars": 15},
    "FUT": {"max_price": 1e6, "max_jump": 2.0, "stale_bars": 10},
}
"""TWS security type → what differs from the defaults, which are those of stocks and funds."""


class Imputation(Strict):
    """How the missing values of one column are filled; every filled value is masked by `is_imputed_<column>`."""

    method: Literal["ffill", "interpolate", "constant"]
    max_minutes: int = Field(default=5, ge=1, le=390)
    """The longest run of missing minutes that is filled; of a longer one nothing is."""
    value: float | None = Field(default=None, ge=0)
    """What `constant` fills in."""

    @model_validator(mode="after")
    def _value_belongs_to_constant(self) -> "Imputation":
        if (self.method == "constant") != (self.value is not None):
            raise ValueError("`value` goes with method `constant`, and only with it")
        return self


class MetricLimits(Strict):
    """From where the metrics of a session warn; shares are of the rows that TWS sent."""

    min_coverage: float = Field(default=0.5, ge=0, le=1)
    max_quarantined_share: float = Field(default=0.01, ge=0, le=1)
    max_duplicate_share: float = Field(default=0.01, ge=0, le=1)
    max_disordered_share: float = Field(default=0.01, ge=0, le=1)
    max_stale_share: float = Field(default=0.05, ge=0, le=1)
    max_filler_share: float = Field(default=0.5, ge=0, le=1)


class QualityConfig(Strict):
    """Rules' severities and thresholds, limits of the metrics, and imputation."""

    severities: Mapping[RuleName, Severity] = Field(default_factory=dict)
    """Rule → a severity other than its own; `quant quarantine rules` lists them."""
    asset_classes: Mapping[str, Thresholds] = Field(default_factory=dict, validate_default=True)
    """TWS security type → thresholds; a class or key that is left out keeps its default, and other classes are judged
    as STK."""
    metrics: MetricLimits = MetricLimits()
    imputation: Mapping[ImputedColumn, Imputation] = Field(default_factory=dict)
    """Column → how its missing minutes are filled; nothing is when left out."""

    @field_validator("severities")
    @classmethod
    def _hard_rules_stay(cls, given: Mapping[RuleName, Severity]) -> Mapping[RuleName, Severity]:
        if lowered := sorted(name for name, severity in given.items() if name in HARD and severity != "quarantine"):
            raise ValueError(f"the severity of {', '.join(lowered)} is always quarantine: silver rests on it")
        return given

    @field_validator("asset_classes", mode="before")
    @classmethod
    def _defaults_below(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        names = [*_CLASSES, *(name for name in given if name not in _CLASSES)]
        return {name: _over(_CLASSES.get(name, {}), given.get(name, {})) for name in names}

    @field_validator("imputation")
    @classmethod
    def _prices_go_together(cls, given: Mapping[ImputedColumn, Imputation]) -> Mapping[ImputedColumn, Imputation]:
        ways = {way for name, way in given.items() if name in PRICES}
        if not ways:
            return given
        if len(given) - ("volume" in given) < len(PRICES) or len(ways) > 1:
            raise ValueError("a minute has four prices or none: give open, high, low and close the same imputation")
        if ways.pop().method == "constant":
            raise ValueError("a price cannot be made up: use ffill or interpolate")
        return given

    def thresholds(self, asset_class: str) -> Thresholds:
        """Return the thresholds of an asset class; one that is not named is judged as STK."""
        return self.asset_classes.get(asset_class) or self.asset_classes["STK"]


def _over(base: Mapping[str, Any], top: Any) -> Any:
    if isinstance(top, Thresholds):
        return top
    return {**base, **top} if isinstance(top, Mapping) else top
