"""Inheritance of scanner files, and the origin of every value.

`configs/scanners/<name>.yaml` is an entry; folders beside it hold the layers below: universe, hygiene, template and
strategy. A file names the one that it stands on with `base_preset: <layer>/<name>`. Values and lists replace what is
below, mappings merge deeply.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from quant_assets.connectors.scanners.model import Scanner
from quant_assets.errors import ConfigurationError, UnknownNameError
from quant_assets.errors.base import suggestion
from quant_assets.settings.manifest.base import legal_keys
from quant_assets.settings.manifest.loading import merged
from quant_assets.settings.names import safe_name
from quant_assets.settings.nested import leaves

LAYERS = ("universe", "hygiene", "template", "strategy")
"""From the ground up; a file stands on one of its own layer or of one before it."""

_BASE = "base_preset"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A scanner, the files that it is made of, and where each value comes from."""

    name: str
    scanner: Scanner
    files: tuple[str, ...]
    """Relative to configs/scanners, the ground first."""
    origins: Mapping[str, str]
    """Dotted key → file."""

    def values(self) -> list[tuple[str, Any, str]]:
        """Return key, value and origin of everything that a file says, in the order of the keys."""
        flat = dict(leaves(self.scanner.model_dump(mode="json", exclude_unset=True)))
        return [(key, value, self._origin(key)) for key, value in sorted(flat.items())]

    def _origin(self, key: str) -> str:
        parts = key.split(".")
        known = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
        return next((self.origins[one] for one in known if one in self.origins), "")


def list_scanners(configs: Path) -> list[str]:
    """Return the names of all entries."""
    return sorted(path.stem for path in (configs / "scanners").glob("*.yaml"))


def load_scanner(configs: Path, name: str) -> Resolved:
    """Read an entry with all of its layers.

    Raises:
        UnknownNameError: there is no such entry.
        UnsafeNameError: a name has characters that must not reach a path.
        ConfigurationError: a file is malformed, a preset does not exist, presets form a cycle or go upwards, or the
            whole has an unknown key or a wrong value; names file, key and what is legal.
    """
    root = configs / "scanners"
    if not (root / f"{safe_name('scanner', name)}.yaml").is_file():
        raise UnknownNameError("scanner", name, list_scanners(configs))
    chain = _chain(root, name)
    whole: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for preset, content in chain:
        own = {key: value for key, value in content.items() if key != _BASE}
        whole = merged(whole, own)
        origins |= dict.fromkeys(_keys(own), f"{preset}.yaml")
    try:
        scanner = Scanner.model_validate(whole)
    except ValidationError as error:
        raise _refusal(root, name, error, origins) from None
    return Resolved(name, scanner, tuple(f"{preset}.yaml" for preset, _ in chain), origins)


def _chain(root: Path, name: str) -> list[tuple[str, dict[str, Any]]]:
    """Return (preset, content) from the ground up to an entry."""
    chain: list[tuple[str, dict[str, Any]]] = []
    preset: str | None = name
    while preset is not None:
        seen = [one for one, _ in chain]
        if preset in seen:
            raise ConfigurationError(
                f"{root / seen[-1]}.yaml, key {_BASE!r}", f"presets form a cycle: {' → '.join([*seen, preset])}."
            )
        content = _read(root / f"{preset}.yaml")
        chain.append((preset, content))
        preset = _base(root, preset, content)
    return chain[::-1]


def _base(root: Path, preset: str, content: Mapping[str, Any]) -> str | None:
    """Return the preset that a file stands on, or None on the ground."""
    named, where = content.get(_BASE), f"{root / preset}.yaml, key {_BASE!r}"
    if named is None:
        return None
    known = [f"{layer}/{path.stem}" for layer in LAYERS for path in sorted((root / layer).glob("*.yaml"))]
    if named not in known:
        near = get_close_matches(str(named), known, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise ConfigurationError(where, f"there is no preset {named!r}.", f"{hint}Known: {', '.join(known) or 'none'}.")
    if _height(named) > _height(preset):
        raise ConfigurationError(
            where, f"{named!r} lies above {preset!r}.", f"The layers are {' → '.join((*LAYERS, 'entry'))}."
        )
    return str(named)


def _height(preset: str) -> int:
    layer, is_layer, _ = preset.partition("/")
    return LAYERS.index(layer) if is_layer else len(LAYERS)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigurationError(str(path), f"not valid YAML: {error}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), f"it cannot be read ({error}).") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigurationError(str(path), "it must be a mapping of names to values.")
    return content


def _refusal(root: Path, name: str, error: ValidationError, origins: Mapping[str, str]) -> ConfigurationError:
    """Return the error that names the file which wrote the wrong key, and what is legal there."""
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    paths = (".".join(location[:n]) for n in range(len(location), 0, -1))
    file = next((origins[one] for one in paths if one in origins), f"{name}.yaml")
    where = f"{root / file}" + (f", key {key!r}" if key else "")
    if first["type"] == "extra_forbidden":
        return ConfigurationError(where, "there is no such key.", suggestion(location[-1], _legal(location[:-1])))
    problem = first["msg"].removeprefix("Value error, ")
    told = "" if isinstance(first["input"], dict | Scanner) else f" (got {first['input']!r})"
    return ConfigurationError(where, f"{problem}{told}.")


def _legal(location: list[str]) -> list[str]:
    """Return the keys that a mapping of the model may have."""
    return sorted([*legal_keys(Scanner, location), *([] if location else [_BASE])])


def _keys(value: Any, key: str = "") -> Iterator[str]:
    """Yield the dotted keys of a mapping, inner ones too."""
    if key:
        yield key
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _keys(inner, f"{key}.{name}" if key else str(name))
