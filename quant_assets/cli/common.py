"""What the commands share: options, tables, JSON, and the unit of work."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from math import isfinite
from typing import Any, TypeVar

import click

from quant_assets.control.progress import PROGRESS_LOGGER
from quant_assets.domain.tables import UNIVERSE, Table
from quant_assets.errors import ConfigurationError, NotASessionError
from quant_assets.flows.gate import TwsGate
from quant_assets.flows.work import Work
from quant_assets.lakehouse.layout import Partition
from quant_assets.settings import Settings

_ENOUGH = 5
"""Sessions that are named before the rest is left out."""

F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(function)


class Finite(click.FloatRange):
    """A number within bounds that is one: NaN is beyond no bound, and infinity is below none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or say what is wrong with it."""
        number = click.FLOAT.convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return super().convert(number, param, ctx)


def session_options(function: F) -> F:
    """Add `--session` and `--sessions`."""
    single = click.option("--session", metavar="YYYY-MM-DD", help="One session; the newest closed one when left out.")
    several = click.option("--sessions", metavar="A..B", help="A closed range of sessions, the earlier one first.")
    return single(several(function))


def sessions_from(work: Work, session: str | None, sessions: str | None) -> list[date]:
    """Return the sessions that were asked for, all of them closed.

    Raises:
        NotASessionError: a holiday, a reversed range, or no date at all.
        FutureSessionError: a session that has not closed.
        click.UsageError: both options were given.
    """
    if session and sessions:
        raise click.UsageError("give --session or --sessions, not both")
    now = work.clock.now()
    if sessions:
        first, _, last = sessions.partition("..")
        found = work.calendar.between(parse_day(first), parse_day(last or first))
        work.calendar.require_closed(work.calendar.require(parse_day(last or first)), now)
        work.calendar.require(parse_day(first))
        return found
    return [work.calendar.require_closed(parse_day(session), now) if session else work.latest_session()]


def span_options(everything: str) -> Callable[[F], F]:
    """Add `--session` and `--sessions`, which narrow a command that otherwise looks at everything."""

    def add(function: F) -> F:
        single = click.option("--session", metavar="YYYY-MM-DD", help="One session.")
        several = click.option("--sessions", metavar="A..B", help=f"A closed range; {everything} when left out.")
        return single(several(function))

    return add


def span_from(session: str | None, sessions: str | None) -> tuple[date | None, date | None]:
    """Return the ends of a range such as `A..B`; a single date is that day alone, and nothing at all has no ends.

    Raises:
        NotASessionError: an end is no date, or the range is reversed.
        click.UsageError: both options were given.
    """
    if session and sessions:
        raise click.UsageError("give --session or --sessions, not both")
    if session:
        return span_of(session, session)
    if not sessions:
        return None, None
    first, _, last = sessions.partition("..")
    return span_of(first, last or first)


def span_of(first: str, last: str) -> tuple[date, date]:
    """Parse the two ends of a range.

    Raises:
        NotASessionError: an end is no date, or the range is reversed.
    """
    begins, ends = parse_day(first), parse_day(last)
    if ends < begins:
        raise NotASessionError(f"{begins}..{ends}", "the range is reversed; write the earlier session first")
    return begins, ends


def parse_day(text: str) -> date:
    """Parse a date.

    Raises:
        NotASessionError: it is none.
    """
    try:
        return date.fromisoformat(text.strip(". "))
    except ValueError:
        raise NotASessionError(repr(text), "write it as YYYY-MM-DD") from None


def settings_of_command() -> Settings:
    """Return the settings of the environment, with what `quant --set` put on top."""
    return Settings.from_env(assignments=click.get_current_context().find_root().params.get("assignments", ()))


def parse_instant(text: str) -> datetime:
    """Parse an instant: `2026-03-14T21:00Z`; a date alone is the end of its UTC day.

    Raises:
        ConfigurationError: it is none, or has no time zone.
    """
    mend = "Write it as 2026-03-14T21:00Z, or a date for the end of that UTC day."
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigurationError("instant", f"{text!r} is none.", mend) from None
    if len(text.strip()) == len("2026-03-14"):
        return found.replace(tzinfo=UTC) + timedelta(days=1) - timedelta(microseconds=1)
    if found.tzinfo is None:
        raise ConfigurationError("instant", f"{text!r} has no time zone.", mend)
    return found.astimezone(UTC)


@contextmanager
def open_work() -> Iterator[Work]:
    """Open a unit of work on the configured data directory, with a progress bar on a terminal."""
    from quant_assets.control.progress import watched_progress

    settings = settings_of_command()
    settings.check_data_directory()
    with TwsGate(settings, run_id="cli") as gate, watched_progress() as progress:
        _log_to_stderr(has_bar=progress.has_bar)
        yield Work(settings, gate, run_id="cli", progress=progress)


def _log_to_stderr(*, has_bar: bool) -> None:
    """Say warnings; and what goes on too, where no bar shows it."""
    if logging.getLogger().handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(_PlainFormatter("%(levelname)s %(name)s: %(message)s"))
    handler.setLevel(logging.WARNING if has_bar else logging.INFO)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger(PROGRESS_LOGGER).setLevel(logging.INFO)


class _PlainFormatter(logging.Formatter):
    """Leaves out what Dagster put before a message for its own log: job, run and step."""

    def format(self, record: logging.LogRecord) -> str:
        told = getattr(record, "dagster_meta", None)
        if told is None:
            return super().format(record)
        return super().format(logging.makeLogRecord({**vars(record), "msg": told["orig_message"], "args": ()}))


def print_json(value: Any) -> None:
    """Print JSON; dates and paths become text."""
    click.echo(json.dumps(value, indent=2, default=str))


def print_synthetic_banner(settings: Settings) -> None:
    """Say that prices are invented, wherever a person reads numbers made from them."""
    manifest = settings.manifest
    if manifest.tws.mode == "replay" and manifest.replay.market == "synthetic":
        click.secho(
            "SYNTHETIC MARKET: every price below is invented; no instrument of it exists.", fg="yellow", err=True
        )


def confirmed(question: str) -> bool:
    """Ask; an input that ends, or Ctrl-C, is no answer, and therefore a no."""
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        click.echo(err=True)
        return False


def nothing(work: Work, sentence: str) -> str:
    """Return what to say where there is nothing to show: the sentence, or that there could not be anything yet."""
    is_empty = not work.lake.curated.partitions(UNIVERSE)
    return "nothing is published yet: `quant flow data`" if is_empty else sentence


def tell_unpublished(work: Work, table: Table, sessions: Sequence[date]) -> None:
    """Say on the error stream which sessions nobody has judged yet: to be without a row there means nothing."""
    lacking = [day for day in sessions if not work.lake.curated.exists(table, Partition(day))]
    if not lacking or not work.lake.curated.partitions(UNIVERSE):
        return
    told = ", ".join(map(str, lacking[:_ENOUGH])) + (" …" if len(lacking) > _ENOUGH else "")
    mend = f"`quant flow data --sessions {lacking[0]}..{lacking[-1]}`"
    click.secho(f"warning: not published, so nothing is known of them: {told}; {mend}", fg="yellow", err=True)


def print_words(lines: Sequence[Any], tell: Callable[[Any], str], *, as_json: bool) -> None:
    """Print what people said, the oldest first, a sentence each."""
    if as_json:
        print_json(lines)
        return
    for line in lines:
        click.echo(tell(line))
    if not lines:
        click.echo("nobody said anything yet")
