"""Certificates: which content of a session is the golden copy, held against what stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

import polars as pl

State = Literal["valid", "changed", "behind", "refused", "none"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A session's certificate as it stands now."""

    session: date
    state: State
    """valid: every table still holds the certified content; changed: some do not; behind: they do, but an answer or a
    person's word has come since that is not in them; refused: today's limits are narrower and it is beyond them; none:
    never certified."""
    certificate_id: str = ""
    certified_at: datetime | None = None
    changed: tuple[str, ...] = ()
    """Tables whose content is another by now, or is gone, or which the certificate does not know."""
    beyond: tuple[str, ...] = ()
    """What is beyond today's limits, where the content is unchanged."""
    behind: tuple[str, ...] = ()
    """Tables that were made from another state of something than the one that stands, and of what."""
    degraded: str = ""
    """Instruments that are certified as degraded, with the minutes that they lost."""
    accepted: str = ""
    """Instruments with minutes that a person accepted as lost."""


def judged(
    session: date,
    rows: pl.DataFrame,
    standing: Mapping[str, str | None],
    beyond: Sequence[str] = (),
    behind: Sequence[str] = (),
) -> Certificate:
    """Hold a certificate against the content that stands, what it was made from, and today's limits.

    Args:
        session: the session.
        rows: its rows of `certified_sessions`.
        standing: table name → content id, or None where nothing stands; only these tables are looked at.
        beyond: what is beyond the limits of today.
        behind: tables that were made from an older state of something, and of what.
    """
    certified = dict(rows.select("table_name", "content_id").iter_rows())
    changed = tuple(sorted(name for name, content in standing.items() if not content or certified.get(name) != content))
    state: State = "changed" if changed else "behind" if behind else "refused" if beyond else "valid"
    said = rows.row(0, named=True)
    return Certificate(
        session,
        state,
        said["certificate_id"],
        said["certified_at"],
        changed,
        tuple(beyond),
        tuple(behind),
        said["degraded"],
        said["accepted"],
    )
