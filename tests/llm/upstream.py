"""A provider that answers as a test says."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Upstream(ThreadingHTTPServer):
    """A provider that answers as a test says, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/api/v1"
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        #: Writes the whole answer.
        self.answer: Callable[[BaseHTTPRequestHandler], None] = send_json

    def handle_error(self, *_: object) -> None:
        """A client that goes away is part of some tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.command, self.path, headers, body))
        self.server.answer(self)

    do_GET = do_POST = do_DELETE = handle_one  # noqa: N815

    def log_message(self, *_: object) -> None:
        """No log on stderr."""


def send_json(
    handler: BaseHTTPRequestHandler,
    content: object = None,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> None:
    body = json.dumps(content if content is not None else {"ok": True}).encode()
    handler.send_response(status)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(body)))
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
