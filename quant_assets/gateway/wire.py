r"""The TWS wire format: length-prefixed frames of NUL-terminated text fields.

Every message is a four-byte big-endian length and that many bytes. The client's first frame alone is preceded by the
bytes `API\0` and holds the range of versions it speaks.
"""

import re
import struct
from typing import Final

API_PREFIX: Final = b"API\0"
MIN_VERSION: Final = 157
MAX_VERSION: Final = 178
"""The newest server version without protobuf messages that both client libraries accept."""
MAX_FRAME: Final = 16 * 2**20

SIZES_IN_DETAILS: Final = 164
ADVANCED_REJECT: Final = 166
ISSUER_ID: Final = 176

_LENGTH = struct.Struct(">I")
_HELLO = re.compile(r"v(\d+)(?:\.\.(\d+))?(?: .*)?")


class WireError(ValueError):
    """Bytes that are no TWS frame; the connection cannot go on."""


def frame(payload: bytes) -> bytes:
    """Return the payload with its length before it."""
    return _LENGTH.pack(len(payload)) + payload


def message(*fields: object) -> bytes:
    """Return one framed message; booleans travel as 1 and 0, None as an empty field."""
    return frame("".join(f"{_text(value)}\0" for value in fields).encode())


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value)


def fields_of(payload: bytes) -> list[str]:
    """Return the fields of a frame's payload."""
    return payload.decode(errors="replace").removesuffix("\0").split("\0")


def parse_hello(payload: bytes) -> tuple[int, int]:
    """Return the lowest and highest version of the client's `v157..176` greeting.

    Raises:
        WireError: the payload is no greeting.
    """
    match = _HELLO.fullmatch(payload.decode(errors="replace"))
    if match is None:
        raise WireError(f"not a TWS greeting: {payload[:40]!r}")
    low, high = int(match[1]), int(match[2] or match[1])
    return low, high


class FrameBuffer:
    """Collects received bytes and gives back whole frames."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._has_greeted = False

    def feed(self, data: bytes) -> None:
        """Append what was received."""
        self._bytes += data

    def next_frame(self) -> bytes | None:
        """Return the payload of the next whole frame, or None when more bytes are needed.

        Raises:
            WireError: the first bytes are not TWS's prefix, or a length is absurd.
        """
        start = 0 if self._has_greeted else len(API_PREFIX)
        if not self._has_greeted and not API_PREFIX.startswith(bytes(self._bytes[:start])):
            raise WireError(f"not a TWS client: {bytes(self._bytes[:40])!r}")
        if len(self._bytes) < start + _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._bytes, start)
        if length > MAX_FRAME:
            raise WireError(f"frame of {length} bytes")
        body = start + _LENGTH.size
        if len(self._bytes) < body + length:
            return None
        payload = bytes(self._bytes[body : body + length])
        del self._bytes[: body + length]
        self._has_greeted = True
        return payload
