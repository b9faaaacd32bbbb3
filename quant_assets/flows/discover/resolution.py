"""Whose candidates count: `CANDIDATES_FILE`, then a run, then the table; on record each time."""

from dataclasses import dataclass
from datetime import date
from typing import Literal

import polars as pl

from quant_assets.domain.tables import CANDIDATES
from quant_assets.errors import InvalidRecordsError
from quant_assets.flows.discover.given import given_candidates
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition


@dataclass(frozen=True, slots=True)
class ResolvedCandidates:
    """Candidates, and where they come from."""

    origin: Literal["file", "run", "table"]
    where: str
    frame: pl.DataFrame
    """Of the table: CANDIDATES with every verdict; of a file or run: symbol, con_id, asset_type, profiles."""
    content_id: str


def resolve_candidates(work: Work, session: date, profile: str, run_id: str = "") -> ResolvedCandidates:
    """Return the candidates of a session and profile, and write down where they were found.

    Raises:
        ConfigurationError: a file is missing, malformed or of another session; or the run is of a later session.
        InvalidRecordsError: a file holds records that cannot be used, and discovery is strict.
        UnknownNameError: there is no such run or profile.
        NotPublishedError: the table has no such partition.
    """
    name = work.settings.manifest.resolve(profile)
    if given := given_candidates(work, session, run_id):
        if given.problems and work.settings.manifest.profile(name).discovery.strict:
            raise InvalidRecordsError(given.label, dict(given.problems))
        rows = [one.model_dump(include={"symbol", "con_id", "asset_type", "profiles"}) for one in given.records]
        wanted = [row for row in rows if not row["profiles"] or name in row["profiles"].split(";")]
        schema = {"symbol": pl.String, "con_id": pl.Int64, "asset_type": pl.String, "profiles": pl.String}
        origin: Literal["file", "run"] = "file" if given.origin == "file" else "run"
        found = ResolvedCandidates(origin, given.where, pl.DataFrame(wanted, schema=schema), given.content_id)
    else:
        at = Partition(session, name)
        frame, footer = work.lake.curated.read_standing(CANDIDATES, at)
        where = f"{CANDIDATES.name}[{at.key}]"
        found = ResolvedCandidates("table", where, frame, footer.content_id)
    work.audit.record(
        "candidates_resolved",
        run_id=work.run_id,
        rows=found.frame.height,
        status="ok",
        origin=found.origin,
        where=found.where,
        content_id=found.content_id,
    )
    return found
