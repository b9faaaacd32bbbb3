"""The network seal: while it is closed, this process opens no connection and resolves no name.

The seal is an audit hook of the interpreter (`sys.addaudithook`), so it also holds for libraries that keep their own
reference to `socket.connect`, and it cannot be taken out again; a counter decides whether it refuses.

It holds for the whole process and not only for the thread that closed it. A thread or context variable would be kinder
to neighbours, but a thread pool that sealed code starts does not inherit either of them, and a seal that a pool walks
through is none. Dagster's own machinery inside a run (SQLite files, pipes, signals) opens no connection; the gRPC
servers and the daemon of `dagster dev` are other processes. What is refused: connecting, sending to an address, and
looking up names, in every address family but AF_UNIX. What is not touched: binding, listening, accepting, connections
that were open before, and child processes; a child starts unsealed, which is why the strength is called `audit_hook`.
"""

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from quant_assets.errors import NetworkSealedError

STRENGTH = "audit_hook"
"""What the seal is made of, for the record."""

_TO_ADDRESS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
_LOOKUPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"}


@dataclass(slots=True)
class Seal:
    """One closing of the seal, and what was refused meanwhile, even where a library swallowed the error."""

    strength: str = STRENGTH
    refused: list[str] = field(default_factory=list)


class _State:
    lock = threading.Lock()
    installed = False
    closed: tuple[Seal, ...] = ()


@contextmanager
def network_seal() -> Iterator[Seal]:
    """Refuse every outgoing connection of this process until the block ends; blocks may nest and overlap.

    Raises:
        NetworkSealedError: inside the block, at the place that tries to connect.
    """
    seal = Seal()
    with _State.lock:
        if not _State.installed:
            sys.addaudithook(_refuse)
            _State.installed = True
        _State.closed = (*_State.closed, seal)
    try:
        yield seal
    finally:
        with _State.lock:
            _State.closed = tuple(one for one in _State.closed if one is not seal)


def is_sealed() -> bool:
    """Return whether a connection would be refused now."""
    return bool(_State.closed)


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    """Look at one audit event; called for everything the interpreter does, so the way out is short."""
    if not _State.closed or not event.startswith("socket."):
        return
    target = _target(event, args)
    if target is None:
        return
    for seal in _State.closed:
        seal.refused.append(target)
    raise NetworkSealedError(target)


def _target(event: str, args: tuple[Any, ...]) -> str | None:
    """Return where an event wants to go, or None when it goes nowhere outside."""
    if event in _LOOKUPS:
        return ":".join(str(part) for part in args[:2])
    if event not in _TO_ADDRESS or args[1] is None:
        return None
    family = getattr(args[0], "family", None)
    return None if family == getattr(socket, "AF_UNIX", object()) else str(args[1])
