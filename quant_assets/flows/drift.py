"""Drift: how far a session has moved from what was certified."""

from dataclasses import dataclass
from datetime import date

from quant_assets.domain.differences import Difference, of_table
from quant_assets.domain.tables import BY_NAME, CERTIFIED_SESSIONS
from quant_assets.flows.certify import certificate_of
from quant_assets.flows.past import open_past
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition


@dataclass(frozen=True, slots=True)
class Drift:
    """One table of a session that no longer holds its certified content."""

    table: str
    current_id: str
    """Empty when the table is gone."""
    difference: Difference | None
    """What changed; None where the certified content cannot be had any more."""


def drift(work: Work, session: date) -> list[Drift]:
    """Return what changed in a session since it was certified; nothing for one that never was.

    The certified rows are computed again as of the certificate, and count only when they have the certified content.
    """
    certificate, partition = certificate_of(work, session), Partition(session)
    if certificate.state != "changed" or certificate.certified_at is None:
        return []
    rows = work.lake.curated.read(CERTIFIED_SESSIONS, partition)
    certified = dict(rows.select("table_name", "content_id").iter_rows())
    found = []
    with open_past(work, certificate.certified_at) as past:
        for name in certificate.changed:
            if name not in certified:
                continue
            table = BY_NAME[name]
            standing, then = work.lake.curated.footer(table, partition), past.curated.footer(table, partition)
            change = None
            if standing and then and then.content_id == certified[name]:
                change = of_table(table, past.curated.read(table, partition), work.lake.curated.read(table, partition))
            found.append(Drift(name, standing.content_id if standing else "", change))
    return found
