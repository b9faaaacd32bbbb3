"""Static symbol lists: small YAML files that name what to look at."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from quant_assets.errors import ConfigurationError, UnknownNameError
from quant_assets.settings.names import safe_name, split_qualified


class SymbolList(BaseModel):
    """A list of `EXCHANGE:SYMBOL` names; the exchange may be left out where the symbol is unique."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = ""
    symbols: tuple[str, ...]


def load_list(configs: Path, name: str) -> SymbolList:
    """Read `configs/lists/<name>.yaml`.

    Raises:
        UnknownNameError: there is no such list.
        UnsafeNameError: a symbol has characters that must not reach a path.
        ConfigurationError: the file is malformed.
    """
    loaded = SymbolList.model_validate(_load(configs / "lists", "symbol list", name, SymbolList))
    for symbol in loaded.symbols:
        split_qualified(symbol)
    return loaded


def _load(directory: Path, kind: str, name: str, model: type[BaseModel]) -> dict[str, Any]:
    path = directory / f"{safe_name(kind, name)}.yaml"
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        model.model_validate(raw)
    except FileNotFoundError:
        raise UnknownNameError(kind, name, (file.stem for file in directory.glob("*.yaml"))) from None
    except yaml.YAMLError as error:
        raise ConfigurationError(str(path), f"not valid YAML: {error}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{path}, key {key!r}", f"{first['msg']} (got {first['input']!r}).") from None
    assert isinstance(raw, dict)
    return raw
