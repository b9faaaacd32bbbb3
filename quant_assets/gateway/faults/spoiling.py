"""Answers made wrong, byte by byte. Pure: a message goes in, a worse one comes out."""

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from quant_assets.gateway.faults.moments import Action, Fault
from quant_assets.gateway.wire import fields_of, message

GARBAGE: Final = message("xyz", "\ufffd", "not a message")
_LENGTH: Final = struct.Struct(">I")
_TOO_BIG: Final = 1 << 20
_HISTORY: Final = "17"
_HEADER: Final = 5
_WIDTH: Final = 8
_CLOSE, _VOLUME = 4, 5
_SHIFT: Final = timedelta(weeks=4)
_DAY_DIGITS: Final = 8

Row = list[str]


def spoiled(data: bytes, fault: Fault) -> bytes:
    """Return what is sent instead of an answer; one that the fault does not fit stays as it is."""
    if fault.action in ("half", "stall"):
        return data[: len(data) // 2]
    if fault.action == "bad_length":
        return _LENGTH.pack(_LENGTH.unpack_from(data)[0] + _TOO_BIG) + data[_LENGTH.size :]
    if fault.action == "garbage":
        return GARBAGE + data
    if fault.action == "duplicate":
        return data + data
    change = _BARS.get(fault.action)
    return _with_bars(data, lambda rows: change(rows, fault)) if change else data


def _with_bars(data: bytes, change: Callable[[list[Row]], Sequence[Row]]) -> bytes:
    fields = fields_of(data[_LENGTH.size :])
    if fields[0] != _HISTORY:
        return data
    flat = fields[_HEADER:]
    rows = change([flat[i : i + _WIDTH] for i in range(0, len(flat), _WIDTH)])
    return message(*fields[: _HEADER - 1], len(rows), *(value for row in rows for value in row))


def _first_share(rows: list[Row], fault: Fault) -> list[Row]:
    return rows[: int(len(rows) * fault.share)]


def _undecodable(rows: list[Row], _fault: Fault) -> list[Row]:
    middle = len(rows) // 2
    return [*rows[:middle], [*rows[middle][:_CLOSE], "n/a", *rows[middle][_CLOSE + 1 :]], *rows[middle + 1 :]]


def _in_lots(rows: list[Row], _fault: Fault) -> list[Row]:
    return [[*row[:_VOLUME], _lots(row[_VOLUME]), *row[_VOLUME + 1 :]] for row in rows]


def _lots(volume: str) -> str:
    return volume if float(volume) < 0 else f"{float(volume) / 100:.2f}"


def _earlier(rows: list[Row], _fault: Fault) -> list[Row]:
    return [[_four_weeks_before(row[0]), *row[1:]] for row in rows]


def _four_weeks_before(label: str) -> str:
    if len(label) == _DAY_DIGITS:
        return f"{datetime.strptime(label, '%Y%m%d').replace(tzinfo=UTC) - _SHIFT:%Y%m%d}"
    return str(int(label) - int(_SHIFT.total_seconds())) if label.isdigit() else label


_BARS: Final[dict[Action, Callable[[list[Row], Fault], list[Row]]]] = {
    "truncate": _first_share,
    "empty": lambda _rows, _fault: [],
    "bad_bar": _undecodable,
    "lots": _in_lots,
    "shift": _earlier,
}
