"""The file of a tag: a state of the lakehouse by name."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from quant_assets.errors import CorruptFileError


@dataclass(frozen=True, slots=True)
class Tag:
    """A named state."""

    name: str
    created_at: datetime
    """Also the instant of knowledge: the state is what was known by then."""
    tables: dict[str, dict[str, str]]
    """Table → partition → content id."""

    @property
    def n_partitions(self) -> int:
        """How many partitions it names."""
        return sum(len(partitions) for partitions in self.tables.values())

    def to_text(self) -> str:
        """Return the tag's file."""
        values = {"name": self.name, "created_at": self.created_at.isoformat(), "tables": self.tables}
        return json.dumps(values, indent=1, sort_keys=True) + "\n"


def load_tag(path: Path) -> Tag:
    """Return the tag that a file holds.

    Raises:
        FileNotFoundError: there is none.
        CorruptFileError: it is no tag.
    """
    try:
        return parse_tag(path, path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise _no_tag(path, error) from None


def parse_tag(path: Path, text: str) -> Tag:
    """Return the tag of a file's text.

    Raises:
        CorruptFileError: it is no tag.
    """
    try:
        values: dict[str, Any] = json.loads(text)
        tables = values["tables"]
        if not isinstance(tables, dict) or not all(isinstance(one, dict) for one in tables.values()):
            raise _no_tag(path, "it names no partitions of tables")
        return Tag(values["name"], datetime.fromisoformat(values["created_at"]), tables)
    except (ValueError, KeyError, TypeError) as error:
        raise _no_tag(path, error) from None


def mend_of_tag(name: str) -> str:
    """Return what to do about a tag that cannot be read."""
    return f"restore it from a backup, or give it up with `quant lake tag delete {name}`"


def _no_tag(path: Path, cause: object) -> CorruptFileError:
    mend = mend_of_tag(path.stem)
    return CorruptFileError(path, f"no tag: {cause}", f"{mend[0].upper()}{mend[1:]}.")
