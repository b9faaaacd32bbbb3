"""A raw TCP peer that speaks just enough of the TWS protocol to misbehave on purpose.

It shares no code with the replay gateway or the client library, and notes every message that it receives.
"""

import asyncio
import struct
from collections.abc import Callable
from typing import Self

Fields = list[str]


def frame(*fields: object) -> bytes:
    body = "".join(f"{field}\0" for field in fields).encode()
    return struct.pack(">I", len(body)) + body


def error(request_id: object, code: int, text: str) -> bytes:
    return frame(4, 2, request_id, code, text, "")


def bars(request_id: object, rows: list[tuple[object, ...]]) -> bytes:
    return frame(17, request_id, "", "", len(rows), *(value for row in rows for value in row))


def three_minutes(start: int = 1_704_465_000) -> list[tuple[object, ...]]:
    """Three bars from 2024-01-05 14:30 UTC, the last with the source's "not available"."""
    return [
        (start, 10.0, 10.5, 9.5, 10.25, 1200, 10.125, 34),
        (start + 60, 10.25, 11.0, 10.0, 10.75, 800, 10.5, 21),
        (start + 120, 10.75, 10.75, 10.5, 10.5, -1, -1, -1),
    ]


class Peer:
    """`on[message_id]` answers a message with bytes; None is silence. `hello` False never greets."""

    def __init__(self, *, hello: bool = True, taken_ids: frozenset[int] = frozenset(), port: int = 0) -> None:
        self.hello, self.taken_ids, self.port = hello, taken_ids, port
        self.received: list[Fields] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.client_ids: list[int] = []
        self.on: dict[str, Callable[[Fields], bytes | None]] = {
            "49": lambda _: frame(49, 1, 1_704_465_000),
            "20": lambda fields: bars(fields[1], three_minutes()),
        }

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)

    def ids(self) -> list[str]:
        return [fields[0] for fields in self.received]

    def count(self, message_id: str) -> int:
        return self.ids().count(message_id)

    def send(self, data: bytes) -> None:
        self.writers[-1].write(data)

    async def until(self, message_id: str, times: int = 1) -> None:
        while self.count(message_id) < times:  # noqa: ASYNC110 - no event is worth one per message id
            await asyncio.sleep(0.002)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            await self._talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(4)
        await self._message(reader)
        if not self.hello:
            await reader.read()
            writer.close()
            return
        writer.write(frame(176, "20240105 09:30:00 EST"))
        while True:
            fields = (await self._message(reader)).decode().split("\0")[:-1]
            self.received.append(fields)
            if fields[0] == "71":
                self._start(int(fields[2]), writer)
            elif answer := self.on.get(fields[0], lambda _: None)(fields):
                writer.write(answer)

    def _start(self, client_id: int, writer: asyncio.StreamWriter) -> None:
        self.client_ids.append(client_id)
        if client_id in self.taken_ids:
            writer.write(error(-1, 326, "Unable to connect as the client id is already in use."))
            writer.close()
            return
        writer.write(frame(15, 1, "DU1") + frame(9, 1, 1) + error(-1, 2106, "HMDS data farm connection is OK:ushmds"))

    async def _message(self, reader: asyncio.StreamReader) -> bytes:
        (length,) = struct.unpack(">I", await reader.readexactly(4))
        return await reader.readexactly(length)
