"""Checks of TWS, from the port to one bar: at most one small request of each kind, and none is an order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Final

from quant_assets.connectors.base import BarRequest, Contract
from quant_assets.connectors.tws import Pacer, Timeouts, TwsAddress, TwsClient
from quant_assets.connectors.tws.failures import ClientIdInUseError, NotTwsError, PortRefusedError
from quant_assets.connectors.tws.pacing import Paced
from quant_assets.domain import venues
from quant_assets.domain.completeness import unit_of
from quant_assets.domain.instruments import may_be_lots, minute_series
from quant_assets.errors import LOTS_OFF, PacingError, QuantAssetsError, SourceUnavailableError
from quant_assets.errors.base import number_of
from quant_assets.flows.doctor.checks import Check
from quant_assets.flows.work import Work
from quant_assets.settings.names import split_qualified

CONNECTION: Final = ("port", "API handshake", "server version", "accounts", "clock")
QUESTIONS: Final = ("contract details", "market data", "sessions", "head timestamp")
SHARES_SINCE: Final = 175
"""Server version from which history of US stocks counts volume in shares."""
_LATE_S: Final = 2.0
_PATIENCE_S: Final = 20.0
"""Long enough for the rule of identical requests: 15 s."""
_WRONG_S: Final = 60.0
_LATE_SESSIONS: Final = 20
"""Sessions of TWS's schedule that are compared with the calendar."""


class DoctorsClient(TwsClient):
    """The product's own client, which also tells what it learned in the handshake."""

    def server_version(self) -> int:
        """The protocol version that was agreed on."""
        return int(self._open_link().client.serverVersion())

    def account_kinds(self) -> list[str]:
        """The accounts without their numbers: the letters that they begin with."""
        names = self._open_link().client.getAccounts()
        return ["".join(takewhile(str.isalpha, name)) + "…" for name in names if name]


@dataclass(frozen=True, slots=True)
class Patient:
    """What the checks are made on."""

    work: Work
    address: TwsAddress
    timeouts: Timeouts
    symbol: str
    pacer: Pacer

    @property
    def contract(self) -> Contract:
        """The instrument that is asked about."""
        exchange, symbol = split_qualified(self.symbol)
        return Contract.listed(exchange, symbol, venues.asset_class_at(exchange), venues.currency_at(exchange))


async def examine_tws(patient: Patient, in_use: str = "") -> list[Check]:
    """Connect and ask; `in_use` says who is using TWS, in which case nothing is asked that counts for pacing."""
    client = DoctorsClient(patient.address, patient.work.clock, patient.timeouts)
    try:
        await client.connect()
    except SourceUnavailableError as error:
        return _unreachable(error)
    async with client:
        checks = [
            Check("port", "pass", f"{patient.address} is open"),
            Check("API handshake", "pass", "finished"),
            _version(client.server_version()),
            _accounts(client.account_kinds()),
            await _guarded("clock", lambda: _clock(patient, client)),
        ]
        if in_use:
            return [*checks, *(Check.skipped(name, in_use) for name in QUESTIONS)]
        return [*checks, *await _questions(patient, client)]


def _unreachable(error: SourceUnavailableError) -> list[Check]:
    """Tell a closed port, another program's, one behind which nobody speaks, and a client id that is taken (326)."""
    if isinstance(error, PortRefusedError):
        return [Check.failed("port", error), *_unasked("API handshake", "the port is not open")]
    if isinstance(error, NotTwsError):
        return [Check.failed("port", error), *_unasked("API handshake", "the port is another program's")]
    reason = "the API does not answer"
    if isinstance(error, ClientIdInUseError):
        reason = "no client id is free"
    open_ = Check("port", "pass", f"{error.address} is open")
    return [open_, Check.failed("API handshake", error), *_unasked("server version", reason)]


def _unasked(first: str, reason: str) -> list[Check]:
    names = [*CONNECTION, *QUESTIONS]
    return [Check.skipped(name, reason) for name in names[names.index(first) :]]


async def _guarded(name: str, check: Callable[[], Awaitable[Check]]) -> Check:
    try:
        return await check()
    except PacingError as error:
        return Check.failed(name, error, "warn")
    except QuantAssetsError as error:
        return Check.failed(name, error)


def _version(number: int) -> Check:
    if number >= SHARES_SINCE:
        return Check("server version", "pass", str(number))
    mend = "Update TWS or IB Gateway: from version 175 on, history counts US volume in shares and not in lots of 100."
    return Check("server version", "warn", str(number), mend)


def _accounts(kinds: list[str]) -> Check:
    return Check("accounts", "pass", f"{len(kinds)}, numbers hidden: {', '.join(kinds)}")


async def _clock(patient: Patient, client: TwsClient) -> Check:
    """Compare clocks; TWS tells whole seconds."""
    before = patient.work.clock.now()
    told = await client.current_time()
    after = patient.work.clock.now()
    late_s = max((before - told - timedelta(seconds=1)).total_seconds(), (told - after).total_seconds(), 0.0)
    found = f"{late_s:.0f} s apart from TWS" if late_s else "equal to TWS's"
    mend = "Set this machine's clock by NTP: whether a session has closed is told by it."
    if late_s <= _LATE_S:
        return Check("clock", "pass", found)
    return Check("clock", "warn" if late_s <= _WRONG_S else "fail", found, mend)


async def _questions(patient: Patient, client: TwsClient) -> list[Check]:
    known = await _guarded("contract details", lambda: _details(patient, client))
    if known.status == "fail":
        reason = f"{patient.symbol} is not known"
        return [known, *(Check.skipped(name, reason) for name in QUESTIONS[1:])]
    bars = await _guarded("market data", lambda: _bars(patient, client))
    return [known, bars, *[await _by_the_way(name, ask(patient, client)) for name, ask in _BY_THE_WAY.items()]]


async def _by_the_way(name: str, check: Awaitable[Check]) -> Check:
    """Return a check that nothing depends on."""
    try:
        return await check
    except QuantAssetsError as error:
        return Check.failed(name, error, "warn")


@asynccontextmanager
async def _turn(patient: Patient, request: BarRequest | Paced) -> AsyncIterator[None]:
    """Wait until IBKR's rules allow a request, but not for long.

    Raises:
        PacingError: the runs before have used up what may be asked; asking now would make TWS refuse.
    """
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await stack.enter_async_context(patient.pacer.slot(request))
        except TimeoutError:
            raise PacingError("this check", patient.pacer.budget.window_s, "nothing was asked") from None
        yield


async def _details(patient: Patient, client: TwsClient) -> Check:
    found = await client.contract_details(patient.contract)
    names = ", ".join(f"{one.primary_exchange or one.exchange}:{one.symbol} ({one.con_id})" for one in found[:3])
    if len(found) == 1:
        return Check("contract details", "pass", names)
    mend = f"Write EXCHANGE:SYMBOL, so that {patient.symbol} means one instrument."
    return Check("contract details", "warn", f"{number_of(len(found), 'instrument')}: {names}", mend)


async def _bars(patient: Patient, client: TwsClient) -> Check:
    """Ask for the latest session: missing permissions answer here, and nowhere before."""
    work = patient.work
    contract = patient.contract
    calendar = work.calendar_for(contract)
    session = calendar.latest(work.clock.now() - work.fetch_delay)
    hours = calendar.hours(session)
    series = minute_series(contract.sec_type, use_rth=work.settings.manifest.lakehouse.use_rth)
    request = BarRequest(contract, hours.closes_at, "1 D", what_to_show=series.what_to_show, use_rth=series.use_rth)
    async with _turn(patient, request):
        answer = await client.bars(request)
    if answer.bars.is_empty():
        mend = (
            "Choose a symbol that trades every day with --symbol; if that one is empty too, see docs/tws.md, code 162."
        )
        return Check("market data", "warn", f"{patient.symbol} has no bar on {session}: {answer.no_data_text}", mend)
    found = f"{answer.bars.height} of {hours.n_minutes} minutes of {patient.symbol} on {session}"
    unit = unit_of(answer.bars) if may_be_lots(contract.sec_type, contract.currency) else "unknown"
    if unit == "lots":
        return Check("market data", "fail", f"{found}, with volumes in lots of 100", f"{LOTS_OFF}.")
    if unit == "unclear":
        return Check("market data", "warn", f"{found}, with volumes that may be in lots of 100", f"{LOTS_OFF}.")
    return Check("market data", "pass", found)


async def _head(patient: Patient, client: TwsClient) -> Check:
    """Compare the oldest bar with the start of the longest daily window."""
    work = patient.work
    series = minute_series(patient.contract.sec_type, use_rth=True)
    async with _turn(patient, Paced.about(patient.contract, series.what_to_show, "head")):
        head = await client.head_timestamp(patient.contract, series.what_to_show, use_rth=series.use_rth)
    window = work.calendar.window(work.latest_session(), work.settings.manifest.max_lookback_sessions)
    found = f"{patient.symbol} goes back to {head.date()}" if head else f"TWS knows of no bar of {patient.symbol}"
    if head and head <= datetime.combine(window[0], datetime.max.time(), UTC):
        return Check("head timestamp", "pass", found)
    mend = f"Windows begin at {window[0]}: lower data.lookback_sessions, or expect less coverage of this instrument."
    return Check("head timestamp", "warn", found, mend)


async def _sessions(patient: Patient, client: TwsClient) -> Check:
    """Compare TWS's schedule of the last weeks with the calendar: only here are days found that no calendar opens.

    Hours that differ settle themselves, once bars speak against the calendar; a day without a partition never does.
    """
    work, contract = patient.work, patient.contract
    if not venues.is_scheduled(contract.sec_type):
        return Check.skipped("sessions", f"{patient.symbol} trades every day")
    is_regular = minute_series(contract.sec_type, use_rth=True).use_rth
    end = work.clock.now().replace(minute=0, second=0, microsecond=0)
    async with _turn(patient, Paced.about(contract, "SCHEDULE", end, _LATE_SESSIONS)):
        told = await client.schedule(contract, end, _LATE_SESSIONS, use_rth=is_regular)
    unknown = [one.session for one in told if not work.calendar.is_session(one.session)]
    if not unknown:
        return Check("sessions", "pass", f"each of {len(told)} sessions of {patient.symbol} is one of the lakehouse")
    days = ", ".join(map(str, unknown))
    mend = (
        "Such a day has no partition: add a calendar that trades on it to lakehouse.calendars, or do without its bars."
    )
    return Check(
        "sessions", "warn", f"{patient.symbol} traded on {days}, a day that no configured calendar opens", mend
    )


_BY_THE_WAY: Final[Mapping[str, Callable[[Patient, TwsClient], Awaitable[Check]]]] = {
    "sessions": _sessions,
    "head timestamp": _head,
}
