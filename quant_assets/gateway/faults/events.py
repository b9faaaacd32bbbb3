"""What happens to the gateway as a whole, for a while: outages, restarts, broken farms, silence."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from quant_assets.clock import Clock
from quant_assets.gateway.faults.moments import KINDS, MomentKind

Notice = tuple[int, str]
HISTORY_KINDS: Final[frozenset[MomentKind]] = frozenset({"history", "head_timestamp"})
LOOKUP_KINDS: Final[frozenset[MomentKind]] = frozenset({"contract_details", "matching_symbols"})
MARKET_KINDS: Final[frozenset[MomentKind]] = frozenset(KINDS) - {"handshake", "start_api", "account", "current_time"}
"""What TWS cannot answer without its own link to IB."""


@dataclass(frozen=True, slots=True)
class Event:
    """From its beginning to its end: what clients are told, and what the gateway does not do meanwhile."""

    name: str
    says: tuple[Notice, ...] = ()
    then_says: tuple[Notice, ...] = ()
    mutes: frozenset[MomentKind] = frozenset()
    """Kinds of requests that get no answer."""
    drops: Literal["", "close", "reset"] = ""
    """How all connections end at the beginning."""
    closes_port: bool = False
    freezes: bool = False
    lasts_s: float = 0.0


class Stage(Protocol):
    """What a gateway lets events do to it."""

    clock: Clock
    muted: list[frozenset[MomentKind]]
    standing: list[Notice]

    def answers(self, kind: MomentKind) -> bool:
        """Return whether requests of this kind get an answer at present."""
        ...

    def broadcast(self, code: int, text: str) -> None:
        """Tell every client."""
        ...

    def kick(self, *, abort: bool = False) -> None:
        """End all connections."""
        ...

    def freeze(self, *, frozen: bool = True) -> None:
        """Answer nothing at all, or do so again."""
        ...

    def close_port(self) -> None:
        """Stop listening."""
        ...

    async def open_port(self) -> None:
        """Listen again."""
        ...

    def note_strike(self, name: str, detail: str) -> None:
        """Record that something was made to go wrong."""
        ...

    def note_end(self, name: str) -> None:
        """Record that an event is over."""
        ...


def begin(event: Event, stage: Stage) -> None:
    """Do what an event starts with."""
    _tell(stage, event.says)
    if event.mutes:
        stage.muted.append(event.mutes)
        stage.standing.extend(event.says)
    if event.closes_port:
        stage.close_port()
    if event.drops:
        stage.kick(abort=event.drops == "reset")
    if event.freezes:
        stage.freeze()


async def end(event: Event, stage: Stage) -> None:
    """Undo it."""
    if event.freezes:
        stage.freeze(frozen=False)
    if event.closes_port:
        await stage.open_port()
    if event.mutes:
        stage.muted.remove(event.mutes)
        for notice in event.says:
            stage.standing.remove(notice)
    _tell(stage, event.then_says)
    stage.note_end(event.name)


def _tell(stage: Stage, notices: Iterable[Notice]) -> None:
    for code, text in notices:
        stage.broadcast(code, text)
