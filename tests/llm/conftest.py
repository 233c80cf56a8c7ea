from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anthropic
import openai
import psutil
import pytest

from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane


def open_sockets() -> int:
    return len(psutil.Process().net_connections(kind="inet"))


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Every test ends with the threads and sockets that it began with."""
    threads, sockets = set(threading.enumerate()), open_sockets()
    yield
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        left = [thread for thread in threading.enumerate() if thread not in threads]
        if not left and open_sockets() <= sockets:
            return
        time.sleep(0.02)
    assert not left
    assert open_sockets() <= sockets


@pytest.fixture
def gateway(nothing_left: None) -> Iterator[Gateway]:
    with Gateway() as gateway:
        yield gateway


@pytest.fixture
def connect(nothing_left: None) -> Iterator[Callable[..., openai.OpenAI]]:
    """Makes OpenAI's own client for a lane; it does not retry unless told to."""
    with contextlib.ExitStack() as clients:

        def make(lane: Lane, **settings: object) -> openai.OpenAI:
            settings = {"max_retries": 0, "timeout": 20, "api_key": lane.token} | settings
            client = openai.OpenAI(base_url=lane.base_url("127.0.0.1"), **settings)  # type: ignore[arg-type]
            return clients.enter_context(client)

        yield make


@pytest.fixture
def connect_anthropic(nothing_left: None) -> Iterator[Callable[..., anthropic.Anthropic]]:
    """Makes Anthropic's own client for a lane; it does not retry unless told to."""
    with contextlib.ExitStack() as clients:

        def make(lane: Lane, **settings: object) -> anthropic.Anthropic:
            settings = {"max_retries": 0, "timeout": 20, "api_key": lane.token} | settings
            url = lane.base_url("127.0.0.1", "anthropic/x")
            client = anthropic.Anthropic(base_url=url, **settings)  # type: ignore[arg-type]
            return clients.enter_context(client)

        yield make


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


@pytest.fixture
def upstream(nothing_left: None) -> Iterator[Upstream]:
    with Upstream() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
