"""Time budgets: how long a run may take before somebody should look."""

from quant_assets.flows.work import Work

OVER_BUDGET = "over_budget"
"""Name of the metadata and of the audit event that tell of it."""


def over_budget(work: Work, n_sessions: int) -> str | None:
    """Return a sentence with the figures when the work takes longer than its budget, else None.

    One session is the daily job, several are a backfill. Time counts from the opening of the unit of work, which is
    the beginning of a run.
    """
    budgets = work.settings.manifest.budgets
    name, minutes = (
        ("daily_minutes", budgets.daily_minutes) if n_sessions == 1 else ("backfill_minutes", budgets.backfill_minutes)
    )
    taken = (work.clock.monotonic() - work.begun) / 60
    if minutes is None or taken <= minutes:
        return None
    return f"the run has taken {taken:.4g} minutes for {n_sessions} session(s); budgets.{name} is {minutes:g}"
