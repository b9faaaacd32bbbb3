"""The whole of configs/manifest.json, validated."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator

from quant_assets.errors import UnknownNameError
from quant_assets.settings.manifest.base import Strict
from quant_assets.settings.manifest.house import (
    BudgetsConfig,
    CaptureConfig,
    LakehouseConfig,
    PositionsConfig,
    ReplayConfig,
    SymbologyConfig,
    TrackingConfig,
    TradingViewConfig,
    TwsConfig,
)
from quant_assets.settings.manifest.profile import Profile
from quant_assets.settings.names import safe_name, split_qualified
from quant_assets.settings.quality import QualityConfig


class Manifest(Strict):
    """The whole file, with `defaults` merged into every profile and aliases resolved."""

    default_profile: str
    production_profile: str
    lakehouse: LakehouseConfig = LakehouseConfig()
    tws: TwsConfig = TwsConfig()
    replay: ReplayConfig = ReplayConfig()
    capture: CaptureConfig = CaptureConfig()
    positions: PositionsConfig = PositionsConfig()
    symbology: SymbologyConfig = SymbologyConfig()
    quality: QualityConfig = QualityConfig()
    tradingview: TradingViewConfig = TradingViewConfig()
    budgets: BudgetsConfig = BudgetsConfig()
    tracking: TrackingConfig = TrackingConfig()
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

    @model_validator(mode="after")
    def _sleeves_are_profiles(self) -> "Manifest":
        for key in ("default_profile", "production_profile"):
            if self.profile(getattr(self, key)).sleeves:
                raise ValueError(f"{key} names a meta portfolio, which has no alpha cycle of its own")
        for name, profile in self.profiles.items():
            real_names = [
                self.aliases.get(one.profile or key, one.profile or key) for key, one in profile.sleeves.items()
            ]
            if len(set(real_names)) < len(real_names):
                raise ValueError(f"profiles.{name}.sleeves names the same profile twice")
            for sleeve, held in profile.sleeves.items():
                real = self.aliases.get(held.profile or sleeve, held.profile or sleeve)
                if real not in self.profiles:
                    known = ", ".join(sorted([*self.profiles, *self.aliases]))
                    raise ValueError(f"profiles.{name}.sleeves.{sleeve} names no profile; known: {known}")
                if real == name or self.profiles[real].sleeves:
                    raise ValueError(f"profiles.{name}.sleeves.{sleeve} is {real!r}, which must have no sleeves itself")
        return self

    @property
    def active_profiles(self) -> dict[str, Profile]:
        """Profiles that are ingested for and that have partitions, by name; meta portfolios have neither."""
        ordered = sorted(self.profiles.items())
        return {name: profile for name, profile in ordered if profile.active and not profile.sleeves}

    @property
    def meta_profiles(self) -> dict[str, Profile]:
        """Active profiles that are made of finished runs of others, by name."""
        return {name: profile for name, profile in sorted(self.profiles.items()) if profile.active and profile.sleeves}

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
