"""What stands and lacks what came after it was made: it is built again from what is stored, without a request."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from quant_assets.domain.tables import ADJUSTMENT_FACTORS, INSTRUMENTS
from quant_assets.flows.dimension import outdated_dimensions
from quant_assets.flows.returning import newly_outdated_factors, outdated_factors
from quant_assets.flows.work import Work


@dataclass(frozen=True, slots=True)
class Outdated:
    """What of a session is outdated."""

    lacks: Mapping[str, str]
    """Table → id of what it should be made from."""


def outdated_sessions(work: Work, first: date, last: date = date.max) -> dict[date, Outdated]:
    """Return the sessions of a range of which a table lacks what came since, ascending.

    A dimension lacks contract details of a session before it. Factors lack what the next answer tells of an instrument
    that had left the universe.
    """
    dimensions, factors = outdated_dimensions(work, first, last), outdated_factors(work, first, last)
    return _joined({INSTRUMENTS.name: dimensions, ADJUSTMENT_FACTORS.name: factors})


def left_behind(work: Work, first: date) -> dict[date, Outdated]:
    """Return the sessions that a run has outdated which fetched the newest answers, and began with a session."""
    return _joined(
        {INSTRUMENTS.name: outdated_dimensions(work, first), ADJUSTMENT_FACTORS.name: newly_outdated_factors(work)}
    )


def _joined(found: Mapping[str, Mapping[date, str]]) -> dict[date, Outdated]:
    sessions = sorted({day for days in found.values() for day in days})
    return {day: Outdated({name: days[day] for name, days in found.items() if day in days}) for day in sessions}
