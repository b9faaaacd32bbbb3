"""What every file of the lakehouse says about itself, in its Parquet footer."""

import json
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import polars as pl

from quant_assets.errors import CorruptFileError

_KEY = "quant_assets"


@dataclass(frozen=True, slots=True)
class Footer:
    """Identity, provenance and size of one committed file."""

    table: str
    partition: str
    content_id: str
    n_rows: int
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Input name → content id that this file was computed from."""
    watermark: str = ""
    """Newest knowledge time among the inputs, ISO 8601 UTC; content from an older one is refused."""
    known_from: str = ""
    known_until: str = ""
    """Range of `known_at` (or `ingested_at`) in the file."""
    run_id: str = ""
    version: str = ""
    warnings: Mapping[str, str] = field(default_factory=dict)
    """Check that failed without blocking → what it said, so that a run that rewrites nothing can say it again."""

    def belongs(self, file: Path) -> bool:
        """Return whether a path is one of the partition that was committed: `table/session=…`, `/profile=…` below."""
        profile, _, session = self.partition.rpartition("|")
        places = [session, profile] if profile else [session]
        table, *found = file.parts[-len(places) - 2 : -1]
        return [table, *(one.partition("=")[2] for one in found)] == [self.table, *places]

    def to_metadata(self) -> dict[str, str]:
        """Return the key-value metadata to store in a Parquet file."""
        return {_KEY: json.dumps(asdict(self), sort_keys=True)}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values."""
        return cls(**values)

    def confirmed_by(self, other: "Footer") -> "Footer":
        """Return the same footer with what another computation of equal content was made from, and warned of."""
        return replace(self, inputs=other.inputs, watermark=other.watermark, warnings=other.warnings)


def instant_text(text: str) -> str:
    """Return an ISO 8601 instant in the one form whose texts sort as the instants do; what is none stays as it is.

    `…:00Z`, `…:00+00:00` and `…:00.000000+00:00` are one instant, but as texts they are three.
    """
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return text
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="microseconds")


def known_range(frame: pl.DataFrame) -> dict[str, Any]:
    """Return `known_from` and `known_until` of rows; nothing where rows do not say when they became known."""
    column = next((name for name in ("known_at", "ingested_at", "observed_at") if name in frame.columns), None)
    if column is None or frame.is_empty():
        return {}
    low, high = frame.select(pl.col(column).min().alias("low"), pl.col(column).max().alias("high")).row(0)
    return {"known_from": instant_text(low.isoformat()), "known_until": instant_text(high.isoformat())} if low else {}


def read_footer(path: Path) -> Footer:
    """Read the footer of a committed file.

    Raises:
        CorruptFileError: the file is no Parquet, was not written by a store, or is that of another partition.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for its writer
            raise CorruptFileError(path, "it is no regular file", MEND)
        with path.open("rb") as stream:
            text = pl.read_parquet_metadata(stream)[_KEY]
        footer = Footer.from_dict(json.loads(text))
        belongs = footer.belongs(path)
    except FileNotFoundError:
        raise
    except (pl.exceptions.PolarsError, OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise CorruptFileError(path, _short(error), MEND) from error
    if not belongs:
        raise CorruptFileError(path, f"it is the file of {footer.table}[{footer.partition}]", MEND)
    return footer


def read_parquet(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """Read a committed file, through one open descriptor.

    Given the path, Polars would open it several times; a writer that replaces the file in between makes it read the
    index of one file and the pages of another.

    Raises:
        CorruptFileError: it cannot be decoded.
    """
    try:
        with path.open("rb") as stream:
            return pl.read_parquet(stream, columns=columns, hive_partitioning=False)
    except FileNotFoundError:
        raise
    except (pl.exceptions.PolarsError, OSError) as error:
        raise CorruptFileError(path, _short(error), MEND) from error


MEND = (
    "Silver and gold: `quant lake rebuild --sessions` with the session moves the file aside and computes it again. "
    "A bronze batch has to come from a backup, or be fetched again after moving it aside."
)


def _short(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
