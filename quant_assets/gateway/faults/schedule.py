"""A day of trouble from a seed: any mixture of faults, each of which comes to an end."""

from collections.abc import Sequence
from random import Random
from typing import Any, Final

from quant_assets.gateway.faults.moments import MomentKind
from quant_assets.gateway.faults.script import FaultLine, FaultScript
from quant_assets.gateway.faults.vocabulary import EVENTS

WIRE_FAULTS: Final = (
    "pacing",
    "pacing_localised",
    "query_failed",
    "too_long",
    "invalid_step",
    "too_many_open",
    "duplicate_id",
    "no_query",
    "hang",
    "late",
    "drop",
    "reset",
    "half",
    "stall",
    "bad_length",
    "dribble",
    "garbage",
    "duplicate",
    "rate_exceeded",
    "farm_asleep",
    "bad_bar",
)
"""Faults of answers that a client can see for itself."""
DATA_FAULTS: Final = ("no_data", "no_items", "empty", "truncate", "lots", "shift")
"""Well-formed answers that are wrong: only somebody who knows what to expect can see them."""
_ON_CONNECTING: Final = (
    ("hang", "handshake"),
    ("drop", "handshake"),
    ("hang", "start_api"),
    ("client_id_taken", "start_api"),
)
_DENIAL: Final = "unknown_contract"
"""One in a script at the most: denied on two connections, a contract is rightly believed to be unknown."""
_LOOKUPS: Final = ("hang", "late", "drop", "half", "garbage", "query_failed", _DENIAL)
_MAX_LINES: Final = 6


def random_script(seed: int, symbols: Sequence[str] = (), *, data_faults: bool = True) -> FaultScript:
    """Return the script of a seed: two to six lines, each bounded in number and in time.

    Args:
        seed: equal seeds give equal scripts.
        symbols: some lines strike only one of these.
        data_faults: whether answers may also be well-formed and wrong.
    """
    random = Random(f"schedule:{seed}")  # noqa: S311 - replayable, not secret
    answers = (*WIRE_FAULTS, *DATA_FAULTS) if data_faults else WIRE_FAULTS
    lines = [_line(random, answers, symbols) for _ in range(random.randint(2, _MAX_LINES))]
    denials = [line for line in lines if line.fault == _DENIAL]
    kept = [line for line in lines if line not in denials[1:]]
    return FaultScript(description=f"random schedule {seed}", seed=seed, faults=tuple(kept))


def _line(random: Random, answers: Sequence[str], symbols: Sequence[str]) -> FaultLine:
    kind = random.choices(("answer", "event", "lookup", "connecting"), (50, 30, 12, 8))[0]
    if kind == "event":
        return _event(random)
    if kind == "connecting":
        name, moment = random.choice(_ON_CONNECTING)
        return FaultLine(fault=name, request=(_kind(moment),), nth=random.randint(1, 3), times=random.randint(1, 2))
    if kind == "lookup":
        nth = random.randint(1, 4)
        return FaultLine(fault=random.choice(_LOOKUPS), request=("contract_details",), nth=nth, times=1)
    symbol = random.choice(symbols) if symbols and random.random() < 0.3 else ""  # noqa: PLR2004 - some
    fault = random.choice((*answers, _DENIAL))
    when: dict[str, Any] = {"nth": random.randint(1, 12)} if fault == _DENIAL else _when(random)
    return FaultLine(fault=fault, request=("history",), symbol=symbol, **when)


def _when(random: Random) -> dict[str, Any]:
    chosen = random.choice(("nth", "every", "probability"))
    value: float = {"nth": random.randint(1, 12), "every": random.randint(2, 6)}.get(chosen, 0.2)
    return {chosen: value, "times": random.randint(1, 3)}


def _event(random: Random) -> FaultLine:
    name = random.choice(tuple(EVENTS))
    request: tuple[MomentKind, ...] = ("history",) if random.random() < 0.8 else ("contract_details",)  # noqa: PLR2004
    lasts = float(random.randint(20, 900)) if EVENTS[name].lasts_s else None
    return FaultLine(fault=name, request=request, nth=random.randint(1, 10), times=1, lasts=lasts)


def _kind(moment: str) -> MomentKind:
    return "handshake" if moment == "handshake" else "start_api"
