"""Settings: the environment is read here and nowhere else.

Precedence: command line > environment > profile > defaults (the last two live in configs/manifest.json).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from quant_assets.errors import ConfigurationError
from quant_assets.settings.manifest import Manifest, load_manifest

_TWS_VARIABLES = {
    "QUANT_TWS_MODE": ("tws", "mode"),
    "QUANT_TWS_HOST": ("tws", "host"),
    "QUANT_TWS_PORT": ("tws", "port"),
    "QUANT_TWS_CLIENT_ID": ("tws", "client_id"),
    "QUANT_REPLAY_MARKET": ("replay", "market"),
    "QUANT_REPLAY_SEED": ("replay", "seed"),
    "QUANT_REPLAY_TIME_SCALE": ("replay", "time_scale"),
    "QUANT_START_SESSION": ("lakehouse", "start_session"),
}


@dataclass(frozen=True)
class Settings:
    """Where data and configuration live, and the validated manifest.

    Environment: `QUANT_DATA` (data directory, default `data`), `QUANT_CONFIGS` (default `configs`), and one variable
    per overridable key: QUANT_TWS_MODE, QUANT_TWS_HOST, QUANT_TWS_PORT, QUANT_TWS_CLIENT_ID, QUANT_REPLAY_MARKET,
    QUANT_REPLAY_SEED, QUANT_REPLAY_TIME_SCALE, QUANT_START_SESSION.
    """

    data: Path
    configs: Path
    overrides: Mapping[str, Mapping[str, Any]]

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **paths: Path | None) -> "Settings":
        """Read the environment once; `data=` and `configs=` from the command line win over it."""
        env = os.environ if environ is None else environ  # noqa: TID251 - the one place that reads it
        overrides: dict[str, dict[str, Any]] = {}
        for variable, (section, key) in _TWS_VARIABLES.items():
            if env.get(variable):
                overrides.setdefault(section, {})[key] = env[variable]
        return cls(
            data=(paths.get("data") or Path(env.get("QUANT_DATA") or "data")).absolute(),
            configs=(paths.get("configs") or Path(env.get("QUANT_CONFIGS") or "configs")).absolute(),
            overrides=overrides,
        )

    @cached_property
    def manifest(self) -> Manifest:
        """The validated manifest.

        Raises:
            ConfigurationError: see `load_manifest`.
        """
        origins = {
            f"{section}.{key}": f"environment variable {variable}"
            for variable, (section, key) in _TWS_VARIABLES.items()
            if key in self.overrides.get(section, {})
        }
        return load_manifest(self.configs / "manifest.json", self.overrides, origins)

    def check_data_directory(self) -> None:
        """Make the data directory and prove that it can be written.

        Raises:
            ConfigurationError: it cannot.
        """
        try:
            self.data.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(str(self.data), f"the data directory cannot be made ({error.strerror}).") from None
        if not os.access(self.data, os.W_OK):
            raise ConfigurationError(str(self.data), "the data directory cannot be written.", "Set QUANT_DATA.")


__all__ = ["Settings"]
