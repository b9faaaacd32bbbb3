"""What an answer of the readers says of itself: the state it rests on, what it lacks, how old it is."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import polars as pl

from quant_assets.errors import NotPublishedError
from quant_assets.lakehouse.assembly import BAR, Assembly
from quant_assets.lakehouse.reading import PastReading, Plan

_MEND = "Run `quant flow data` for these sessions."


def require_published(plans: Sequence[Plan]) -> None:
    """Refuse an answer that no partition stands behind; one that is withheld whole is an answer."""
    if all(not plan.files and not plan.withheld for plan in plans):
        names = ", ".join(sorted({plan.table.name for plan in plans}))
        days = [day for plan in plans for day in plan.missing]
        raise NotPublishedError(names, f"{min(days)}..{max(days)}", _MEND)


def metadata_of(
    assembly: Assembly, plans: Sequence[Plan], instruments: Mapping[str, int], frame: pl.DataFrame
) -> dict[str, Any]:
    """Say which state of the lakehouse answered, and what is not in the answer."""
    present = set(frame["con_id"].unique().to_list())
    units = {feature.name: group.unit(feature.name) for group in assembly.groups for feature in group.features}
    return {
        "feature_groups": {group.name: group.version for group in assembly.groups},
        "units": units,
        "instruments": dict(instruments),
        "without_rows": [name for name, con_id in instruments.items() if con_id not in present],
        "content_ids": _by_table((plan, plan.content_ids) for plan in plans),
        "missing_sessions": _by_table((plan, dict.fromkeys(plan.missing)) for plan in plans),
        "withheld_sessions": _by_table((plan, dict.fromkeys(plan.withheld)) for plan in plans),
        "known_until": max(plan.known_until for plan in plans),
        "as_of": assembly.as_of,
    }


def origins_of(reading: PastReading) -> dict[str, dict[str, str]]:
    """Return table → partition → where it came from."""
    told: dict[str, dict[str, str]] = {}
    for (name, key), origin in sorted(reading.origins.items()):
        told.setdefault(name, {})[key] = origin
    return told


def _by_table(parts: Iterable[tuple[Plan, Mapping[date, Any]]]) -> dict[str, dict[date, Any]]:
    merged: dict[str, dict[date, Any]] = {}
    for plan, part in parts:
        merged.setdefault(plan.table.name, {}).update(part)
    return merged


def freshness_of(frame: pl.DataFrame, asked_at: datetime) -> dict[int, dict[str, Any]]:
    """Return, per con_id, the session of its row, and where the row is a bar how long ago that bar had ended."""
    rows = {row["con_id"]: row for row in frame.iter_rows(named=True)}
    ages = {
        con_id: {"age_s": (asked_at - row["ts"] - BAR).total_seconds()} for con_id, row in rows.items() if "ts" in row
    }
    return {con_id: {"session": row["session"], **ages.get(con_id, {})} for con_id, row in rows.items()}
