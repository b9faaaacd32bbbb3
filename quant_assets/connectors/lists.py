"""Static symbol lists: small YAML files that name what to look at."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from quant_assets.errors import ConfigurationError, UnknownNameError, UnsafeNameError
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
        UnsafeNameError: its name has characters that must not reach a path.
        ConfigurationError: the file is malformed, or names what must not reach a path; tells every such entry.
    """
    path = configs / "lists" / f"{safe_name('symbol list', name)}.yaml"
    try:
        loaded = SymbolList.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UnknownNameError("symbol list", name, (file.stem for file in path.parent.glob("*.yaml"))) from None
    except yaml.YAMLError as error:
        raise ConfigurationError(str(path), f"not valid YAML: {error}.") from None
    except ValidationError as error:
        told = [f"key {_key(one['loc'])!r}: {one['msg']} (got {one['input']!r})" for one in error.errors()]
        raise ConfigurationError(str(path), f"{'; '.join(told)}.") from None
    if refused := list(_refused(loaded.symbols)):
        raise ConfigurationError(str(path), f"{'; '.join(refused)}.", "Write EXCHANGE:SYMBOL, as NASDAQ:AAPL.")
    return loaded


def _key(place: Sequence[int | str]) -> str:
    return ".".join(map(str, place))


def _refused(symbols: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with each symbol that must not reach a path."""
    for place, symbol in enumerate(symbols):
        try:
            split_qualified(symbol)
        except UnsafeNameError as error:
            yield f"key {_key(('symbols', place))!r}, {symbol!r}: {str(error).removesuffix('.')}"
