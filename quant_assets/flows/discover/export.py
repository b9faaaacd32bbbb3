"""data/export/<session>/candidates.json: the universe of a session, for other programs, and as its record."""

import json
from datetime import date, datetime
from pathlib import Path

import polars as pl

from quant_assets.control.files import write_text
from quant_assets.domain.tables import UNIVERSE
from quant_assets.errors import CorruptFileError
from quant_assets.flows.work import Work

NAME = "candidates.json"


def export(work: Work, session: date, frame: pl.DataFrame) -> Path:
    """Write the instruments of a session, ordered by con_id; equal content is left alone."""
    path = work.layout.export(session) / NAME
    rows = frame.sort("con_id").select(
        pl.format("{}:{}", "exchange", "symbol").alias("symbol"),
        "exchange",
        "con_id",
        "currency",
        pl.col("asset_class").alias("asset_type"),
        "sources",
        "profiles",
        "is_pit",
        pl.col("observed_at").dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ"),
        "metadata",
    )
    listed = [{**row, "metadata": json.loads(row["metadata"] or "{}")} for row in rows.to_dicts()]
    text = json.dumps({"session": str(session), "candidates": listed}, indent=2) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
    return path


def recorded(work: Work, session: date) -> pl.DataFrame:
    """Return the members of a session that were observed at the time, from its export; UNIVERSE without them is empty.

    Raises:
        CorruptFileError: the export is there and cannot be understood.
    """
    path = work.layout.export(session) / NAME
    if not path.exists():
        return UNIVERSE.empty()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = [_row(session, one) for one in content["candidates"] if one["is_pit"]]
        return UNIVERSE.conform(UNIVERSE.frame(rows))
    except (OSError, ValueError, KeyError, TypeError) as error:
        mend = "Remove the file; discovery writes it again."
        raise CorruptFileError(path, f"no export of a universe: {type(error).__name__} {error}", mend) from None


def _row(session: date, one: dict[str, object]) -> dict[str, object]:
    metadata = one["metadata"]
    return {
        "session": session,
        "con_id": one["con_id"],
        "symbol": str(one["symbol"]).rpartition(":")[2],
        "exchange": one["exchange"],
        "currency": one["currency"],
        "asset_class": one["asset_type"],
        "sources": one["sources"],
        "profiles": one["profiles"],
        "metadata": json.dumps(metadata, sort_keys=True) if metadata else None,
        "observed_at": datetime.fromisoformat(str(one["observed_at"])),
        "is_pit": True,
    }
