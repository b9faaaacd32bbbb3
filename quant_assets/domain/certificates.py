"""Certificates: which content of a session is the golden copy, held against what stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

import polars as pl

State = Literal["valid", "changed", "none"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A session's certificate as it stands now."""

    session: date
    state: State
    """valid: every table still holds the certified content; changed: some do not; none: never certified."""
    certificate_id: str = ""
    certified_at: datetime | None = None
    changed: tuple[str, ...] = ()
    """Tables whose content is another by now, or is gone, or which the certificate does not know."""


def judged(session: date, rows: pl.DataFrame, standing: Mapping[str, str | None]) -> Certificate:
    """Hold a certificate against the content that stands.

    Args:
        session: the session.
        rows: its rows of `certified_sessions`.
        standing: table name → content id, or None where nothing stands; only these tables are looked at.
    """
    certified = dict(rows.select("table_name", "content_id").iter_rows())
    changed = tuple(sorted(name for name, content in standing.items() if not content or certified.get(name) != content))
    state: State = "changed" if changed else "valid"
    return Certificate(session, state, rows["certificate_id"][0], rows["certified_at"][0], changed)
