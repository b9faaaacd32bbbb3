"""`quant flow`: the cycles, run through Dagster so that the UI shows them."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date

import click

from quant_assets.assets.cycles import ADJUSTED, ALPHA, DATA, DIMENSION
from quant_assets.cli.common import (
    json_option,
    open_work,
    print_json,
    print_synthetic_banner,
    session_options,
    sessions_from,
)
from quant_assets.domain.tables import ADJUSTMENT_FACTORS, CERTIFIED_SESSIONS, INSTRUMENTS
from quant_assets.errors import GIVEN_UP_CODE, ConfigurationError
from quant_assets.errors.base import number_of
from quant_assets.flows.gate import TwsGate
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.registry import Registry, RunOutcome, range_of
from quant_assets.settings import Settings


@click.group()
def flow() -> None:
    """Run a cycle of the asset graph; what is published already is left alone."""


@flow.command()
@session_options
@json_option
def data(session: str | None, sessions: str | None, *, as_json: bool) -> None:
    """Data cycle: discovery, ingestion, quality, features, and the candidates of every profile."""
    registry, chosen = _prepare(session, sessions)
    finish([run_data(registry, chosen)], as_json=as_json)


@flow.command()
@click.option("--profile", metavar="NAME", help="Profile or alias; the default profile when left out.")
@session_options
@json_option
def alpha(profile: str | None, session: str | None, sessions: str | None, *, as_json: bool) -> None:
    """Alpha cycle of a profile: snapshot, returns, weights, report; without the network."""
    registry, chosen = _prepare(session, sessions)
    name = profile or registry.settings.manifest.default_profile
    if registry.settings.manifest.profile(name).sleeves:
        raise ConfigurationError(
            f"profile {name}", "it is a meta portfolio of finished runs.", f"Use `quant meta run --profile {name}`."
        )
    finish([run_alpha(registry, chosen, name)], as_json=as_json)


@flow.command()
@session_options
@json_option
def production(session: str | None, sessions: str | None, *, as_json: bool) -> None:
    """Alpha cycle of the production profile; fails and says so when the data cycle has not run before."""
    registry, chosen = _prepare(session, sessions)
    finish([run_alpha(registry, chosen, registry.settings.manifest.production_profile)], as_json=as_json)


@flow.command(name="all")
@session_options
@json_option
def all_(session: str | None, sessions: str | None, *, as_json: bool) -> None:
    """Data cycle, then production."""
    registry, chosen = _prepare(session, sessions)
    outcomes = [run_data(registry, chosen)]
    if outcomes[0].success:
        outcomes.append(run_alpha(registry, chosen, registry.settings.manifest.production_profile))
    finish(outcomes, as_json=as_json)


def _prepare(session: str | None, sessions: str | None) -> tuple[Registry, list[date]]:
    """Read the configuration and the sessions before Dagster is imported, so that mistakes are told at once."""
    with open_work() as work:
        chosen = sessions_from(work, session, sessions)
        require_partitions(work, chosen)
        settings: Settings = work.settings
    print_synthetic_banner(settings)
    return Registry(settings), chosen


def require_partitions(work: Work, sessions: Sequence[date]) -> None:
    """Refuse sessions before the first partition.

    Raises:
        ConfigurationError: names the first session that has one.
    """
    start = work.settings.manifest.lakehouse.start_session
    if sessions[0] < start:
        raise ConfigurationError(
            "lakehouse.start_session", f"{sessions[0]} lies before the first partition {start}.", "Set an earlier one."
        )


def run_data(
    registry: Registry, sessions: Sequence[date], *, is_repair: bool = False, asks_known: bool = False
) -> RunOutcome:
    """Run the data cycle over sessions, then the candidates of every active profile, then the catalog.

    Where discovery screens the lakehouse, a session looks at the one before, so sessions go one by one. What a backfill
    tells of instruments is brought into the later sessions, too, and what an instrument that returns tells into those
    that it was away: nothing is asked for that.
    """
    spans = [[session] for session in sessions] if _looks_back(registry.settings) else [sessions]
    outcome = registry.run(DATA, *range_of(spans[0]), is_repair=is_repair, asks_known=asks_known)
    for span in spans[1:]:
        if outcome.success:
            outcome = _joined(outcome, registry.run(DATA, *range_of(span), is_repair=is_repair, asks_known=asks_known))
    if outcome.success:
        outcome = _brought_up_to_date(registry, sessions, outcome)
    if not outcome.success:
        return outcome
    TwsGate(registry.settings).mend_status()
    profiles = list(registry.settings.manifest.active_profiles)
    screened = registry.run(["candidates"], *range_of(sessions, profiles[0], profiles[-1]))
    return _joined(_joined(outcome, screened), registry.run(["catalog"]))


def _brought_up_to_date(registry: Registry, sessions: Sequence[date], outcome: RunOutcome) -> RunOutcome:
    """Bring what the answers told of other sessions into these, and into their certificates.

    A backfill tells of instruments in the later sessions; an instrument that returns tells of the time that it was
    away. A session of the run itself may have been published before the answers of another one came.
    """
    from quant_assets.flows.care import runs_of
    from quant_assets.flows.outdated import left_behind

    work = Work(registry.settings, TwsGate(registry.settings))
    behind = left_behind(work, sessions[0])
    described, adjusted = (
        [day for day, one in behind.items() if table.name in one.lacks] for table in (INSTRUMENTS, ADJUSTMENT_FACTORS)
    )
    later = [day for day in described if day not in sessions]
    due = sorted({*later, *adjusted})
    certified = [day for day in due if work.lake.curated.exists(CERTIFIED_SESSIONS, Partition(day))]
    calendar = work.calendar.all_sessions
    for assets, stale in ((DIMENSION, later), (ADJUSTED, adjusted), (["certified_sessions"], certified)):
        for span in runs_of(stale, calendar):
            outcome = _joined(outcome, registry.run(assets, *range_of(span)))
    return outcome


def _looks_back(settings: Settings) -> bool:
    """Return whether any active profile discovers by a screen over the lakehouse."""
    from quant_assets.connectors.scanners import load_scanner

    names = {name for profile in settings.manifest.active_profiles.values() for name in profile.discovery.scanners}
    return any(not load_scanner(settings.configs, name).scanner.is_live for name in names)


def run_alpha(registry: Registry, sessions: Sequence[date], profile: str) -> RunOutcome:
    """Run the alpha cycle of a profile over sessions, then the catalog.

    Under a turnover limit a session starts from the weights of the one before, so sessions go one by one.
    """
    name = registry.settings.manifest.resolve(profile)
    is_chained = registry.settings.manifest.profile(name).risk.max_turnover is not None
    spans = [[session] for session in sessions] if is_chained else [sessions]
    outcome = registry.run(ALPHA, *range_of(spans[0], name))
    for span in spans[1:]:
        if outcome.success:
            outcome = _joined(outcome, registry.run(ALPHA, *range_of(span, name)))
    return _joined(outcome, registry.run(["catalog"]))


def _joined(first: RunOutcome, second: RunOutcome) -> RunOutcome:
    return RunOutcome(
        run_id=f"{first.run_id},{second.run_id}",
        success=first.success and second.success,
        failures=(*first.failures, *second.failures),
        requests=first.requests + second.requests,
        rewritten=first.rewritten + second.rewritten,
        cached=(*first.cached, *second.cached),
        warnings=tuple(dict.fromkeys([*first.warnings, *second.warnings])),
    )


def counted(outcome: RunOutcome) -> str:
    """Say in a line what a run cost: requests, rows, and the stages that were not computed because nothing changed."""
    text = cost(outcome.requests, outcome.rewritten)
    return f"{text}; from the cache: {', '.join(outcome.cached)}" if outcome.cached else text


def cost(requests: int, rows: int) -> str:
    """Say what was asked and written."""
    return f"{number_of(requests, 'TWS request')}, {number_of(rows, 'row')} written"


def finish(outcomes: Sequence[RunOutcome], *, as_json: bool) -> None:
    """Tell what was done, and exit with the code of the worst failure; without one, whether somebody was given up."""
    if as_json:
        print_json([asdict(outcome) for outcome in outcomes])
    for outcome in outcomes:
        if not as_json:
            click.echo(f"{_state(outcome)}: {counted(outcome)}")
        for warning in outcome.warnings:
            click.secho(f"warning: {warning}", fg="yellow", err=True)
        for code, sentence in dict.fromkeys(outcome.failures):
            is_given_up = code == GIVEN_UP_CODE
            word, colour = ("given up", "yellow") if is_given_up else ("error", "red")
            click.secho(f"{word}: {sentence}", fg=colour, err=True)
    failed = [outcome for outcome in outcomes if not outcome.success]
    if code := max(outcome.exit_code for outcome in failed or outcomes):
        click.get_current_context().exit(code)


def _state(outcome: RunOutcome) -> str:
    if not outcome.success:
        return "FAILED"
    return f"done, with {len(set(outcome.given_up))} given up" if outcome.given_up else "ok"
