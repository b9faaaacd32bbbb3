"""All checks in order; what fails early is told, and what depends on it is skipped by name."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from quant_assets.clock import Clock, SystemClock
from quant_assets.connectors.tws import Pacer, Timeouts, TwsAddress
from quant_assets.control.locks import hold
from quant_assets.errors import LockHeldError, QuantAssetsError
from quant_assets.flows.discover import load_sources
from quant_assets.flows.doctor import machine
from quant_assets.flows.doctor.checks import Check
from quant_assets.flows.doctor.tws import CONNECTION, QUESTIONS, Patient, examine_tws
from quant_assets.flows.gate import TwsGate
from quant_assets.flows.work import Work
from quant_assets.settings import Settings

_LOCAL: Final[Mapping[str, Callable[[Work], Check]]] = {
    "disk space": machine.disk,
    "calendar": machine.calendar,
    "locks": machine.locks,
}
_WITHOUT_LISTS: Final = "SPY"


def examine(
    settings: Settings,
    symbol: str = "",
    *,
    root: Path | None = None,
    home: str | None = None,
    clock: Clock | None = None,
) -> list[Check]:
    """Look at everything that a data cycle needs, and return what was found; nothing is raised and nothing mended.

    Args:
        settings: of the data directory and the configuration in question.
        symbol: the instrument to ask TWS about; the first name of a list when empty.
        root: where dagster.yaml stands; the working directory by default.
        home: DAGSTER_HOME, if it is set.
        clock: tells the time that sessions and TWS's clock are compared with.
    """
    work = Work(settings, TwsGate(settings), run_id="doctor", clock=clock or SystemClock())
    configured = machine.configuration(work)
    checks = [
        configured,
        machine.client_library(),
        machine.data_directory(work),
        machine.dagster_instance(work, root or Path.cwd(), home),
    ]
    broken = {check.name for check in checks if check.status == "fail"}
    remote = (*CONNECTION, *QUESTIONS)
    if configured.name in broken:
        return [*checks, *_skipped((*_LOCAL, *remote), "the configuration is not valid")]
    if "data directory" in broken:
        checks += _skipped(_LOCAL, "the data directory cannot be used")
    else:
        checks += [_safely(name, check, work) for name, check in _LOCAL.items()]
    if "client library" in broken:
        return [*checks, *_skipped(remote, "no client library can be used")]
    return [*checks, *_tws(work, symbol, can_write="data directory" not in broken)]


def _skipped(names: Iterable[str], reason: str) -> list[Check]:
    return [Check.skipped(name, reason) for name in names]


def _safely(name: str, check: Callable[[Work], Check], work: Work) -> Check:
    try:
        return check(work)
    except QuantAssetsError as error:
        return Check.failed(name, error)


class _DoctorsGate(TwsGate):
    """The gate of a data cycle, whose ways are examined one by one."""

    def address(self) -> TwsAddress:
        """Where requests would go; in replay mode this starts the embedded gateway."""
        return self._address()


def _tws(work: Work, symbol: str, *, can_write: bool) -> list[Check]:
    """Take the TWS lock for the length of the examination; when somebody has it, ask only what costs nothing.

    Without a data directory there can be neither a lock nor a journal of earlier requests.
    """
    with ExitStack() as stack:
        in_use = _take_lock(work, stack) if can_write else ""
        gate = stack.enter_context(_DoctorsGate(work.settings, run_id="doctor"))
        try:
            address = gate.address()
        except QuantAssetsError as error:
            rest = (*CONNECTION[1:], *QUESTIONS)
            return [Check.failed("port", error), *_skipped(rest, "the replay market cannot be opened")]
        tws = work.settings.manifest.tws
        timeouts = Timeouts.bounded(tws.connect_timeout_s, tws.request_timeout_s)
        pacer = gate.pacer if can_write else Pacer(gate.budget, gate.clock)
        chosen = symbol or next(_listed(work), _WITHOUT_LISTS)
        patient = Patient(work, address, timeouts, chosen, pacer)
        with asyncio.Runner() as runner:
            return runner.run(examine_tws(patient, in_use or _quiet_hours(work, gate)))


def _take_lock(work: Work, stack: ExitStack) -> str:
    """Return who has TWS, or an empty text when the lock is ours now."""
    try:
        stack.enter_context(hold("tws", work.layout.locks, owner={"run": "doctor", "stage": "doctor"}))
    except LockHeldError as error:
        who = ", ".join(f"{key}={value}" for key, value in error.holder.items())
        return f"TWS is in use by another run ({who or 'unknown'}), and its requests are paced"
    return ""


def _quiet_hours(work: Work, gate: TwsGate) -> str:
    quiet, now = gate.policy.quiet, work.clock.now()
    return (
        f"quiet hours (tws.quiet_hours) until {quiet.next_end(now):%H:%M} UTC" if quiet and quiet.contains(now) else ""
    )


def _listed(work: Work) -> Iterator[str]:
    return (named.name for named in load_sources(work).named)
