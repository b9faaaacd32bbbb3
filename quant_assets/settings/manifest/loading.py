"""From the file to the manifest: overrides, defaults, aliases, and where each value comes from.

Precedence: command line > environment > profile > defaults > what the sections declare.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from quant_assets.errors import ConfigurationError
from quant_assets.errors.base import suggestion
from quant_assets.settings.manifest.base import legal_keys
from quant_assets.settings.manifest.profile import PROFILE_SECTIONS
from quant_assets.settings.manifest.whole import Manifest
from quant_assets.settings.nested import leaves

_DECLARED = "declared default"


@dataclass(frozen=True, slots=True)
class Setting:
    """One value of the resolved configuration."""

    key: str
    value: Any
    origin: str
    """Which file and layer, variable or option set it."""


def load_manifest(
    path: Path,
    overrides: Mapping[str, Any] | None = None,
    origins: Mapping[str, str] | None = None,
) -> Manifest:
    """Read and validate a manifest.

    Args:
        path: the file.
        overrides: section → key → value, which replace what the file says (from environment or command line). A
            section of profiles replaces it in every profile.
        origins: `section.key` → where its override comes from, for messages.

    Raises:
        ConfigurationError: the file is absent, is no JSON, or a key or value is wrong; names file, key and what is
            legal.
    """
    overridden = _overridden(_read_json(path), overrides or {}, origins or {})
    expanded = _expand(overridden, path, overrides or {}, origins or {})
    try:
        return Manifest.model_validate(expanded)
    except ValidationError as error:
        first = error.errors()[0]
        key = _key(first["loc"])
        where = _to_blame(key, path, overrides or {}, origins or {})
        if first["type"] == "extra_forbidden":
            *place, name = first["loc"]
            known = suggestion(name, legal_keys(Manifest, place))
            raise ConfigurationError(f"{where}, key {key!r}", "there is no such key.", known) from None
        told = (
            ""
            if isinstance(first["input"], dict) and len(str(first["input"])) > _SHOWN
            else f" (got {first['input']!r})"
        )
        raise ConfigurationError(f"{where}, key {key!r}" if key else where, f"{first['msg']}{told}.") from None


def _to_blame(key: str, path: Path, overrides: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    """Return what wrote a value that is wrong: the override of it, those inside it that make it wrong, or the file."""
    if found := _override_of(key, origins):
        return found
    own = _own_parts(key)
    inside = {name: origin for name, origin in origins.items() if name.split(".")[: len(own)] == own}
    alone = [one for name, one in inside.items() if not _is_wrong(key, path, _without(overrides, name.split(".")))]
    jointly = [] if alone or _is_wrong(key, path, {}) else [*inside.values()]
    return " and ".join(alone or jointly or [str(path)])


def _is_wrong(key: str, path: Path, overrides: Mapping[str, Any]) -> bool:
    try:
        Manifest.model_validate(_expand(_overridden(_read_json(path), overrides, {}), path, overrides, {}))
    except ValidationError as error:
        return any(_key(one["loc"]) == key for one in error.errors())
    return False


def _without(tree: Any, parts: list[str]) -> Any:
    first, *rest = parts
    if not isinstance(tree, dict) or first not in tree:
        return tree
    left = {name: value for name, value in tree.items() if name != first}
    return {**left, first: _without(tree[first], rest)} if rest else left


def _key(place: tuple[int | str, ...]) -> str:
    return ".".join(map(str, place))


_SHOWN = 300
"""Characters of a wrong value that a message repeats."""


def explain(
    path: Path,
    overrides: Mapping[str, Any],
    origins: Mapping[str, str],
    profile: str | None = None,
) -> list[Setting]:
    """Return every value of the house's sections, or of a profile, with its origin.

    Raises:
        ConfigurationError, UnknownNameError: see `load_manifest` and `Manifest.resolve`.
    """
    manifest, raw = load_manifest(path, overrides, origins), _read_json(path)
    if profile is None:
        house = manifest.model_dump(mode="json", exclude={"profiles", "aliases"})
        layers = [(path.name, raw)]
        return [_setting(key, value, layers, origins) for key, value in leaves(house)]
    name = manifest.resolve(profile)
    own = raw["profiles"][name]
    layers = [(f"{path.name}, profiles.{name}", own), (f"{path.name}, defaults", raw.get("defaults", {}))]
    resolved = manifest.profiles[name].model_dump(mode="json")
    return [_setting(key, value, layers, origins) for key, value in leaves(resolved)]


def _setting(key: str, value: Any, layers: list[tuple[str, Any]], origins: Mapping[str, str]) -> Setting:
    if found := _override_of(key, origins):
        return Setting(key, value, found)
    return Setting(key, value, next((name for name, layer in layers if _holds(layer, key)), _DECLARED))


def _override_of(key: str, origins: Mapping[str, str]) -> str | None:
    """Return where the override of a key, or of a mapping around it, comes from."""
    own = _own_parts(key)
    return next((origins[name] for n in range(len(own), 0, -1) if (name := ".".join(own[:n])) in origins), None)


def _own_parts(key: str) -> list[str]:
    """Return the parts of a key as an override names it, which is without the profile."""
    parts = key.split(".") if key else []
    return parts[2:] if parts[:1] == ["profiles"] else parts


def _holds(layer: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(layer, dict) or part not in layer:
            return False
        layer = layer[part]
    return True


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


def _overridden(raw: Mapping[str, Any], overrides: Mapping[str, Any], origins: Mapping[str, str]) -> dict[str, Any]:
    """Lay the overrides of the house's sections over the file."""
    legal = {*Manifest.model_fields, *PROFILE_SECTIONS} - {"profiles", "aliases"}
    result = dict(raw)
    for section, values in overrides.items():
        if section not in legal:
            where = next((origin for key, origin in origins.items() if key.split(".")[0] == section), "override")
            raise ConfigurationError(where, f"there is no section {section!r}.", suggestion(section, sorted(legal)))
        if section not in PROFILE_SECTIONS:
            held = result.get(section, {})
            result[section] = merged(held, values) if isinstance(held, dict) or not isinstance(values, dict) else held
    return result


def _expand(
    raw: Mapping[str, Any], path: Path, overrides: Mapping[str, Any], origins: Mapping[str, str]
) -> dict[str, Any]:
    """Merge `defaults` below and overrides above every profile, and turn string profiles into aliases."""
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
    on_top = {section: value for section, value in overrides.items() if section in PROFILE_SECTIONS}
    result["profiles"] = {
        name: merged(merged(defaults, value), on_top) if isinstance(value, dict) else value
        for name, value in declared.items()
        if not isinstance(value, str)
    }
    for key in ("default_profile", "production_profile"):
        name = result.setdefault(key, result.get("default_profile", "default"))
        if not isinstance(name, str) or name not in declared:
            where = origins.get(key, f"{path}, key {key!r}")
            raise ConfigurationError(where, f"there is no profile {name!r}.", suggestion(name, [*declared]))
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


def merged(base: Any, top: Any) -> Any:
    """Merge mappings deeply; anything else in `top` replaces."""
    if isinstance(base, dict) and isinstance(top, dict):
        return {key: merged(base.get(key), top[key]) if key in top else base[key] for key in {**base, **top}}
    return top
