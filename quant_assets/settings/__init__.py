"""Settings: what a command or a Dagster process is told about data, configuration and overrides, read once.

Precedence: command line > environment > profile > defaults (the last two live in configs/manifest.json).
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from quant_assets.errors import ConfigurationError
from quant_assets.settings.environment import of_process
from quant_assets.settings.manifest import Manifest, Setting, explain, load_manifest

_VARIABLES = {
    "QUANT_TWS_MODE": "tws.mode",
    "QUANT_TWS_HOST": "tws.host",
    "QUANT_TWS_PORT": "tws.port",
    "QUANT_TWS_CLIENT_ID": "tws.client_id",
    "QUANT_REPLAY_MARKET": "replay.market",
    "QUANT_REPLAY_SEED": "replay.seed",
    "QUANT_REPLAY_TIME_SCALE": "replay.time_scale",
    "QUANT_START_SESSION": "lakehouse.start_session",
}
_ANY = "QUANT__"
"""`QUANT__RISK__MAX_WEIGHT=0.1` sets `risk.max_weight`, and so any other key."""


@dataclass(frozen=True)
class Settings:
    """Where data and configuration live, and the validated manifest.

    Environment: `QUANT_DATA` (data directory, default `data`), `QUANT_CONFIGS` (default `configs`), `CANDIDATES_FILE`
    (a candidates.json that replaces lists and scanners), `QUANT_CANDIDATES_RUN` (a run whose instruments do, where no
    file is given), and one variable per common key: QUANT_TWS_MODE,
    QUANT_TWS_HOST, QUANT_TWS_PORT, QUANT_TWS_CLIENT_ID, QUANT_REPLAY_MARKET, QUANT_REPLAY_SEED,
    QUANT_REPLAY_TIME_SCALE, QUANT_START_SESSION. Every other key has a long name: `QUANT__RISK__MAX_WEIGHT` is
    `risk.max_weight` of every profile, `QUANT__BUDGETS__DAILY_MINUTES` is `budgets.daily_minutes`.
    """

    data: Path
    configs: Path
    overrides: Mapping[str, Any]
    """Section → key → value, as it replaces the file's."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """`section.key` → the variable or option that set it."""
    candidates_file: Path | None = None
    candidates_run: str = ""
    assignments: tuple[str, ...] = ()
    """What the command line set, for the processes and runs that it starts."""

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        data: Path | None = None,
        configs: Path | None = None,
        assignments: Iterable[str] = (),
    ) -> "Settings":
        """Read the environment once.

        Args:
            environ: instead of the process's own.
            data: from the command line; wins over `QUANT_DATA`.
            configs: from the command line; wins over `QUANT_CONFIGS`.
            assignments: `section.key=value` from the command line; they win over every variable.

        Raises:
            ConfigurationError: an assignment is malformed.
        """
        env = of_process() if environ is None else environ
        assignments = tuple(assignments)
        overrides: dict[str, Any] = {}
        origins: dict[str, str] = {}
        for key, value, origin in (*_from_variables(env), *(_assignment(text) for text in assignments)):
            _put(overrides, key.split("."), value, origin)
            origins[key] = origin
        file = env.get("CANDIDATES_FILE")
        return cls(
            data=data.absolute() if data else data_directory(env),
            configs=(configs or Path(env.get("QUANT_CONFIGS") or "configs")).absolute(),
            overrides=overrides,
            origins=origins,
            candidates_file=Path(file).absolute() if file else None,
            candidates_run=env.get("QUANT_CANDIDATES_RUN", ""),
            assignments=assignments,
        )

    @cached_property
    def manifest(self) -> Manifest:
        """The validated manifest.

        Raises:
            ConfigurationError: see `load_manifest`.
        """
        return load_manifest(self.manifest_file, self.overrides, self.origins)

    @property
    def manifest_file(self) -> Path:
        """Where the manifest is."""
        return self.configs / "manifest.json"

    def explain(self, profile: str | None = None) -> list[Setting]:
        """Return every value of the house's sections, or of a profile, with where it comes from.

        Raises:
            ConfigurationError, UnknownNameError: see `load_manifest`.
        """
        return explain(self.manifest_file, self.overrides, self.origins, profile)

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


def data_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Return the data directory that the environment names, whatever else is wrong with the environment."""
    env = of_process() if environ is None else environ
    return Path(env.get("QUANT_DATA") or "data").absolute()


def _from_variables(env: Mapping[str, str]) -> Iterable[tuple[str, Any, str]]:
    """Yield key, value and origin of every variable that is set; long names first, so that short ones win."""
    for name in sorted(env):
        if name.startswith(_ANY) and env[name]:
            key = ".".join(part.lower() for part in name.removeprefix(_ANY).split("__"))
            yield key, _parsed(env[name]), f"environment variable {name}"
    for name, key in _VARIABLES.items():
        if env.get(name):
            yield key, env[name], f"environment variable {name}"


def _assignment(text: str) -> tuple[str, Any, str]:
    key, is_given, value = text.partition("=")
    if not is_given or not key.strip():
        raise ConfigurationError(f"option --set {text}", "it is no assignment.", "Write --set risk.max_weight=0.1.")
    return key.strip(), _parsed(value), f"option --set {key.strip()}"


def _parsed(text: str) -> Any:
    """Return JSON as what it is, anything else as text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _put(tree: dict[str, Any], path: list[str], value: Any, origin: str) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise ConfigurationError(origin, f"{part!r} is set to a value already, and has no keys.")
    tree[path[-1]] = value


__all__ = ["Settings", "data_directory"]
