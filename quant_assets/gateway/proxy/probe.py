"""Whether TWS answers behind a recorder, asked before any client comes."""

import asyncio
import os
import struct

from quant_assets.gateway.wire import API_PREFIX, MAX_VERSION, MIN_VERSION, FrameBuffer, WireError, fields_of, frame

_CONNECT_S = 5.0


async def problem_of(host: str, port: int, within_s: float = _CONNECT_S) -> str | None:
    """Greet the API and hang up; return what is wrong, or None when TWS told its version.

    Nothing is asked: TWS sees a client that leaves before it says who it is.
    """
    try:
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_connection(host, port)
    except OSError as cause:
        reason = os.strerror(cause.errno) if cause.errno and cause.errno > 0 else cause.strerror or "no answer"
        return f"not reachable ({reason}): clients are turned away until it is"
    try:
        writer.write(API_PREFIX + frame(f"v{MIN_VERSION}..{MAX_VERSION}".encode()))
        async with asyncio.timeout(within_s):
            told = await _version(reader)
    except TimeoutError:
        return "open, but nobody answers behind it: look at TWS's screen, a login may be waiting"
    except (OSError, WireError, asyncio.IncompleteReadError, ValueError):
        return "no TWS: it does not speak the protocol of the API"
    finally:
        writer.close()
    return f"newer than this recorder: version {told}" if told > MAX_VERSION else None


async def _version(reader: asyncio.StreamReader) -> int:
    frames = FrameBuffer()
    frames.feed(API_PREFIX)
    head = await reader.readexactly(struct.calcsize(">I"))
    frames.feed(head + await reader.readexactly(min(struct.unpack(">I", head)[0], 4096)))
    payload = frames.next_frame()
    if payload is None:
        raise WireError("no greeting")
    return int(fields_of(payload)[0])
