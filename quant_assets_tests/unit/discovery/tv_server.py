"""A real HTTP server on loopback that answers as TradingView's scanner does, or as it fails."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """One answer: bytes as they go over the wire."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    cut: bool = False
    """Promise more bytes than are sent, and close."""


def rows(*listed: tuple[str, Sequence[Any]], total: int | None = None) -> Reply:
    """Rows as the scanner sends them: compact JSON, `s` and `d`."""
    data = [{"s": name, "d": list(values)} for name, values in listed]
    body = {"totalCount": len(data) if total is None else total, "data": data}
    return Reply(json.dumps(body, separators=(",", ":")).encode())


def unknown_field(name: str) -> Reply:
    """What the scanner says about a column that it does not know."""
    text = json.dumps({"totalCount": 0, "error": f'Unknown field "{name}"', "data": None})
    return Reply(text.encode(), status=400)


TOO_MANY = Reply(b"<html><body>Too Many Requests</body></html>", 429, {"Retry-After": "7", "Content-Type": "text/html"})
BAD_GATEWAY = Reply(b"<html>502 Bad Gateway</html>", 502, {"Content-Type": "text/html"})


class Server(ThreadingHTTPServer):
    """Plays its replies in order, and the last one for ever; keeps what it was asked."""

    daemon_threads = True

    def __init__(self, replies: Sequence[Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies = list(replies)
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.agents: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(json.loads(body))
        self.server.paths.append(self.path)
        self.server.agents.append(self.headers["User-Agent"])
        reply = self.server.replies.pop(0) if len(self.server.replies) > 1 else self.server.replies[0]
        if reply.delay_s:
            threading.Event().wait(reply.delay_s)
        self.send_response(reply.status)
        length = len(reply.body) + (100 if reply.cut else 0)
        for name, value in {"Content-Type": "application/json", **reply.headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(reply.body)
        except OSError:
            return
        if reply.cut:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""


@contextmanager
def serving(*replies: Reply) -> Iterator[Server]:
    server = Server(replies)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
