"""Reaching TWS: the address, the handshake, and telling apart the ways in which it fails."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from quant_assets.connectors.tws import library
from quant_assets.connectors.tws.codes import Verdict, classify
from quant_assets.connectors.tws.failures import (
    ClientIdInUseError,
    NotTwsError,
    PortDroppedError,
    PortRefusedError,
    PortSilentError,
)
from quant_assets.connectors.tws.link import Link

_LAST_WORDS_S = 1.0
"""How long a silent peer may take to say something when it is told that nothing more will come."""
_FIRST_BYTES = 64
_HEAD = 4
"""Bytes of a message's length."""


@dataclass(frozen=True, slots=True)
class TwsAddress:
    """Where TWS listens, and which client ids may be used there."""

    host: str = "127.0.0.1"
    port: int = 7497
    client_id: int = 40
    n_client_ids: int = 8
    """How many ids, upwards from `client_id`, are tried while TWS says that one is in use."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def client_ids(self) -> range:
        """The ids to try, in order."""
        return range(self.client_id, self.client_id + self.n_client_ids)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait for the peer, in real seconds: they guard a socket, so no clock but the machine's counts."""

    connect_s: float = 10.0
    history_s: float = 60.0
    lookup_s: float = 20.0
    probe_s: float = 2.0
    idle_s: float = 10.0
    """How long a peer may be silent while a request waits, before it is asked for a sign of life."""

    @classmethod
    def bounded(cls, connect_s: float, request_s: float) -> Self:
        """The defaults, with nothing but historical requests allowed to take longer than they usually do."""
        usual = cls()
        return cls(connect_s, request_s, min(usual.lookup_s, request_s), min(usual.probe_s, request_s), usual.idle_s)


class _IdTaken(Exception):  # noqa: N818 - a turn of the handshake, never seen outside
    pass


async def open_link(
    address: TwsAddress, timeout_s: float, *, first_id: int | None = None, idle_s: float = 10.0
) -> tuple[Link, int]:
    """Connect with the first client id that is free; returns the link and that id.

    Args:
        address: where TWS listens.
        timeout_s: the bound of one handshake.
        first_id: the id that worked last time, tried before the others.
        idle_s: see `Timeouts`.

    Raises:
        PortRefusedError: nothing listens there.
        PortSilentError: the port is open and the handshake does not finish.
        PortDroppedError: the other side ends it.
        NotTwsError: the other side is no TWS.
        ClientIdInUseError: every id of the range is taken.
    """
    ids = sorted(address.client_ids, key=lambda client_id: client_id != first_id)
    for client_id in ids:
        with suppress(_IdTaken):
            return await _handshake(address, client_id, timeout_s, idle_s), client_id
    raise ClientIdInUseError(str(address), address.client_ids)


async def _handshake(address: TwsAddress, client_id: int, timeout_s: float, idle_s: float) -> Link:
    """Connect once. Only the API handshake is done: no account, position or order is asked for."""
    session = library.new_session()
    first = _FirstBytes(session)
    trouble = _watch(session, first)
    link = Link(session, str(address), idle_s)
    # Timeout 0 means none: the race below is the only one, and it can still see how far the library got.
    connecting = asyncio.ensure_future(session.client.connectAsync(address.host, address.port, client_id, 0))
    try:
        await asyncio.wait({connecting, trouble}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        await _check(address, session, connecting, trouble, timeout_s, first)
    except BaseException:
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        await link.close(abort=True)
        raise
    finally:
        trouble.cancel()
        first.forget()
    return link


class _FirstBytes:
    """What the other side says first. TWS tells a short length and then its version; nobody else begins like that."""

    def __init__(self, session: Any) -> None:
        self._conn = session.client.conn
        self._event = asyncio.Event()
        self.bytes = b""
        self._conn.hasData += self._take
        self._conn.disconnected += self._wake

    def _take(self, data: bytes) -> None:
        self.bytes = (self.bytes + data)[:_FIRST_BYTES]
        self._event.set()

    def _wake(self, *_: object) -> None:
        self._event.set()

    def forget(self) -> None:
        """Listen no longer."""
        self._conn.hasData -= self._take
        self._conn.disconnected -= self._wake

    @property
    def are_foreign(self) -> bool:
        """Whether they cannot be the beginning of TWS's greeting."""
        length, version = self.bytes[:_HEAD], self.bytes[_HEAD:].partition(b"\0")[0]
        return not (b"\0\0" + length[2:]).startswith(length) or not (version or b"0").isdigit()

    async def provoke(self) -> None:
        """End our side of a silent connection: a program that waited for more of a question then answers it."""
        transport = self._conn.transport
        if self.bytes or transport is None:
            return
        transport.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._event.wait()


def _watch(session: Any, first: _FirstBytes) -> asyncio.Future[tuple[int, str]]:
    """A future that ends with the first (code, text) which tells that this handshake will not succeed."""
    trouble: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    def tell(code: int, text: str) -> None:
        if not trouble.done():
            trouble.set_result((code, text))

    def on_error(_request_id: int, code: int, text: str, _contract: Any = None) -> None:
        if classify(code, text) is Verdict.CLIENT_ID_IN_USE:
            tell(code, text)

    def on_text(text: str = "") -> None:
        tell(0, text or "the connection was closed during the handshake")

    def on_data(_data: bytes) -> None:
        if first.are_foreign:
            tell(0, "what came is no greeting")

    session.client.conn.hasData += on_data
    session.errorEvent += on_error
    session.client.apiError += on_text
    session.client.conn.disconnected += on_text
    return trouble


async def _check(
    address: TwsAddress,
    session: Any,
    connecting: asyncio.Future[Any],
    trouble: asyncio.Future[tuple[int, str]],
    timeout_s: float,
    first: _FirstBytes,
) -> None:
    """Raise what the race says, and who else it is where it is no TWS."""
    try:
        _check_race(address, session, connecting, trouble, timeout_s)
    except PortSilentError:
        await first.provoke()
        if first.are_foreign:
            raise NotTwsError(str(address), first.bytes) from None
        raise


def _check_race(
    address: TwsAddress,
    session: Any,
    connecting: asyncio.Future[Any],
    trouble: asyncio.Future[tuple[int, str]],
    timeout_s: float,
) -> None:
    """Raise what the race says."""
    error = connecting.exception() if connecting.done() else None
    if isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError):
        raise PortDroppedError(str(address), error.strerror or str(error)) from error
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        cause = "connection refused" if isinstance(error, ConnectionRefusedError) else error.strerror or str(error)
        raise PortRefusedError(str(address), cause) from error
    if trouble.done():
        code, text = trouble.result()
        if code:
            raise _IdTaken
        raise PortDroppedError(str(address), text)
    if not connecting.done():
        reached = session.client.conn.transport is not None
        failure = PortSilentError if reached else PortRefusedError
        raise failure(str(address), f"no {'handshake' if reached else 'connection'} within {timeout_s:g} s")
    connecting.result()
