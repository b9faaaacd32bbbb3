"""The network seal: while it is closed, this process opens no connection and resolves no name.

The seal is an audit hook of the interpreter (`sys.addaudithook`), so it also holds for libraries that keep their own
reference to `socket.connect`, and it cannot be taken out again; a counter decides whether it refuses.

It holds for the whole process and not only for the thread that closed it. A thread or context variable would be kinder
to neighbours, but a thread pool that sealed code starts does not inherit either of them, and a seal that a pool walks
through is none. Dagster's own machinery inside a run (SQLite files, pipes, signals) opens no connection; the gRPC
servers and the daemon of `dagster dev` are other processes. What is refused: connecting, sending to an address, and
looking up names, in every address family but AF_UNIX. What is not touched: binding, listening, accepting, and
connections that were open before.

A child process starts without the hook. `isolate` closes that way where the kernel allows it: a process that moves
into a network namespace of its own has no interface at all, and neither has anything that it starts. It has to be the
first thing that a process does, because a namespace belongs to a thread, and the threads of a library that was loaded
before would stay outside. The strength of a seal says which of the two it had, and where it had the hook alone, the
programs that were started meanwhile are on record.
"""

import contextlib
import ctypes
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quant_assets.errors import NetworkSealedError

HOOK, NAMESPACE = "audit_hook", "network_namespace+audit_hook"
"""What a seal can be made of, for the record."""

_TO_ADDRESS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
_CHILDREN = {"subprocess.Popen", "os.posix_spawn", "os.system", "os.exec", "os.fork", "os.forkpty"}
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_LOOKUPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"}


@dataclass(slots=True)
class Seal:
    """One closing of the seal, and what was refused meanwhile, even where a library swallowed the error."""

    strength: str
    refused: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    """Programs that were started although they do not inherit the seal; none where a namespace holds them too."""


class _State:
    lock = threading.Lock()
    installed = False
    isolated = False
    closed: tuple[Seal, ...] = ()


@contextmanager
def network_seal() -> Iterator[Seal]:
    """Refuse every outgoing connection of this process until the block ends; blocks may nest and overlap.

    Raises:
        NetworkSealedError: inside the block, at the place that tries to connect.
    """
    seal = Seal(NAMESPACE if _State.isolated else HOOK)
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


def isolate() -> bool:
    """Give up the network for the rest of this process's life and for all that it starts; return whether that worked.

    Linux only, and only before the second thread: elsewhere, and where the system forbids it, nothing changes.
    """
    if not _State.isolated and _is_single_threaded():
        user, group = os.geteuid(), os.getegid()
        if _unshare(_NEW_NET):
            _State.isolated = True
        elif _unshare(_NEW_USER | _NEW_NET):  # not root: inside a user namespace everybody may
            _State.isolated = True
            _map_identity(user, group)
    return _State.isolated


def _is_single_threaded() -> bool:
    try:
        return len([*Path("/proc/self/task").iterdir()]) == 1
    except OSError:
        return False


def _unshare(flags: int) -> bool:
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        return bool(libc.unshare(flags) == 0)
    except (OSError, AttributeError):
        return False


def _map_identity(user: int, group: int) -> None:
    """Stay who one was inside a new user namespace, so that files keep their owner."""
    said = (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1"))
    for name, text in said:
        with contextlib.suppress(OSError):
            Path("/proc/self", name).write_text(text)


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    """Look at one audit event; called for everything the interpreter does, so the way out is short."""
    if not _State.closed or not event.startswith(("socket.", "subprocess.", "os.")):
        return
    if event in _CHILDREN and not _State.isolated:
        for seal in _State.closed:
            seal.children.append(_program(event, args))
        return
    target = _target(event, args)
    if target is None:
        return
    for seal in _State.closed:
        seal.refused.append(target)
    raise NetworkSealedError(target)


def _program(event: str, args: tuple[Any, ...]) -> str:
    """Return the name of a program that is started; the fork of an interpreter has none."""
    return Path(os.fsdecode(args[0])).name if args and isinstance(args[0], str | bytes) else event


def _target(event: str, args: tuple[Any, ...]) -> str | None:
    """Return where an event wants to go, or None when it goes nowhere outside."""
    if event in _LOOKUPS:
        return ":".join(str(part) for part in args[:2])
    if event not in _TO_ADDRESS or args[1] is None:
        return None
    family = getattr(args[0], "family", None)
    return None if family == getattr(socket, "AF_UNIX", object()) else str(args[1])
