"""Connections against servers that misbehave, and against a real one that dies."""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import SandboxDied, ServerError

KEY = "the-session-key"


class Answers:
    """What the server answers to one request after the other, and what it was asked."""

    def __init__(self) -> None:
        self.queue: list[tuple[int, bytes]] = []
        self.requests: list[str] = []
        self.delay = 0.0


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what some tests are about."""


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def address(answers: Answers) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        broken = False

        def handle_any(self) -> None:
            if self.broken:  # closed late, when the next request is on its way
                linger = struct.pack("ii", 1, 0)  # that is, with a reset
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                return
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answers.requests.append(f"{self.command} {self.path}")
            time.sleep(answers.delay)
            status, body = answers.queue.pop(0) if answers.queue else (200, b"{}")
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.broken = status >= 500

        do_GET = do_POST = handle_any  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    with QuietServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def connection(address: str) -> Iterator[ServerConnection]:
    with ServerConnection(address, KEY) as connection:
        yield connection


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"detail": "no such conversation"}', "no such conversation"),
        (
            b'{"detail": [{"loc": ["body", "agent"], "msg": "Field required"}, '
            b'{"loc": ["query", "n"], "msg": "too large"}]}',
            "body.agent: Field required; query.n: too large",
        ),
        (b'{"detail": "Internal", "exception": "disk full"}', "Internal: disk full"),
        (b"<html>bad gateway</html>", "<html>bad gateway</html>"),
        (b"", "404 Not Found"),
        (b"[1", "[1"),
    ],
)
def test_an_error_says_what_the_server_said(
    answers: Answers, connection: ServerConnection, body: bytes, expected: str
) -> None:
    answers.queue = [(404, body)]
    with pytest.raises(ServerError) as caught:
        connection.get_json("/api/thing")
    assert str(caught.value).endswith(expected)
    assert f"GET {connection.host}/api/thing" in str(caught.value)
    assert caught.value.status == 404


def test_no_error_shows_the_session_key(answers: Answers, connection: ServerConnection) -> None:
    answers.queue = [(401, f"bad key {KEY}".encode()), (200, f"not json {KEY}".encode())]
    for _ in range(2):
        with pytest.raises(ServerError) as caught:
            connection.get_json("/x")
        assert KEY not in str(caught.value)
        assert "***" in str(caught.value)


def test_an_answer_that_is_not_json_is_a_server_error(
    answers: Answers, connection: ServerConnection
) -> None:
    answers.queue = [(200, b"{garbage")]
    with pytest.raises(ServerError, match="not JSON"):
        connection.post_json("/x", {})


def test_nothing_is_borne_past_the_deadline(answers: Answers, connection: ServerConnection) -> None:
    began = time.monotonic()
    answers.queue = [(500, b"{}")] * 9
    with pytest.raises(ServerError) as caught:
        connection.request("GET", "/x", retry=True, deadline=began + 0.5)
    assert caught.value.status == 500
    assert 1 < len(answers.requests) < 5
    answers.queue.clear()
    answers.requests.clear()
    answers.delay = 3.0
    with pytest.raises(ServerError, match="no answer"):
        connection.request("GET", "/x", retry=True, deadline=time.monotonic() + 0.5)
    assert len(answers.requests) == 1
    assert time.monotonic() - began < 2.5


def test_passing_errors_are_retried_only_when_asked(
    answers: Answers, connection: ServerConnection
) -> None:
    answers.queue = [(503, b""), (429, b""), (500, b""), (200, b'{"a": 1}')]
    assert connection.get_json("/x") == {"a": 1}
    assert len(answers.requests) == 4

    answers.queue = [(503, b"")]
    with pytest.raises(ServerError):
        connection.post_json("/once", {})
    assert answers.requests.count("POST /once") == 1


def test_a_refused_request_is_never_retried(answers: Answers, connection: ServerConnection) -> None:
    answers.queue = [(422, b"")]
    with pytest.raises(ServerError):
        connection.request("GET", "/x", retry=True)
    assert len(answers.requests) == 1


def test_a_connection_reset_after_a_500_does_not_break_the_next_request(
    answers: Answers, connection: ServerConnection
) -> None:
    for number in range(5):
        answers.queue = [(500, b"{}")]
        with pytest.raises(ServerError):
            connection.post_json("/breaks")
        assert connection.post_json(f"/works/{number}") == {}


def test_the_version_is_asked_for_until_it_is_known(
    answers: Answers, connection: ServerConnection
) -> None:
    answers.queue = [(503, b"starting"), (200, b'{"version": "1.58.0"}')]
    assert [connection.version for _ in range(3)] == ["", "1.58.0", "1.58.0"]
    assert answers.requests == ["GET /server_info"] * 2


@pytest.mark.parametrize("answer", [(200, b'{"version": 7}'), (200, b"[]"), (404, b"none")])
def test_a_server_that_does_not_tell_its_version_is_asked_once(
    answers: Answers, connection: ServerConnection, answer: tuple[int, bytes]
) -> None:
    answers.queue = [answer]
    assert [connection.version for _ in range(2)] == ["", ""]
    assert answers.requests == ["GET /server_info"]


def test_parameters_that_are_none_are_left_out(
    answers: Answers, connection: ServerConnection
) -> None:
    connection.get_json("/x", {"page_id": None, "limit": 5})
    assert answers.requests == ["GET /x?limit=5"]


def test_the_environment_s_proxy_is_not_used(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with ServerConnection(address) as connection:
        assert connection.get_json("/x") == {}


def test_it_is_used_from_many_threads_at_once(
    answers: Answers, connection: ServerConnection
) -> None:
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda n: connection.get_json(f"/{n}"), range(320)))
    assert results == [{}] * 320
    assert len(set(answers.requests)) == 320


def test_silence_ends_by_the_read_timeout(answers: Answers, connection: ServerConnection) -> None:
    answers.delay = 2.0
    started = time.monotonic()
    with pytest.raises(ServerError, match="timed out"):
        connection.request("GET", "/slow", timeout=0.6)
    assert 0.5 < time.monotonic() - started < 1.5


def test_the_guard_ends_a_request_that_is_under_way(answers: Answers, address: str) -> None:
    answers.delay = 3.0
    started = time.monotonic()

    def guard() -> None:
        if time.monotonic() - started > 0.3:
            raise SandboxDied("it is gone")

    with (
        ServerConnection(address, guard=guard) as connection,
        pytest.raises(SandboxDied, match="it is gone"),
    ):
        connection.get_json("/slow")
    assert time.monotonic() - started < 1.0


def test_a_refused_connection_surfaces_as_what_the_guard_finds_a_little_later() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    started = time.monotonic()

    def guard() -> None:
        if time.monotonic() - started > 0.3:
            raise SandboxDied("exit code 137")

    with (
        ServerConnection(f"http://127.0.0.1:{port}", guard=guard) as connection,
        pytest.raises(SandboxDied, match="137"),
    ):
        connection.post_json("/x")


def test_a_refused_connection_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with (
        ServerConnection(f"http://127.0.0.1:{port}", KEY) as connection,
        pytest.raises(ServerError, match=r"POST .*/x got no answer .*refused") as caught,
    ):
        connection.post_json("/x")
    assert caught.value.status is None


def test_websocket_addresses() -> None:
    with ServerConnection("http://127.0.0.1:1/") as connection:
        assert connection.websocket_url("/sockets") == "ws://127.0.0.1:1/sockets"
    with ServerConnection("https://example.com/base") as connection:
        assert connection.websocket_url("/sockets") == "wss://example.com/base/sockets"


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_a_container_that_goes_away_during_a_request_is_noticed(
    fresh_server: Any, how: str
) -> None:
    gone_at: list[float] = []

    def guard() -> None:
        if gone_at:
            raise SandboxDied(f"the container was ended by {how}")

    def end() -> None:
        time.sleep(1.0)
        subprocess.run(["docker", how, fresh_server.container_id], check=True, capture_output=True)
        gone_at.append(time.monotonic())

    with ServerConnection(fresh_server.host, fresh_server.api_key, guard=guard) as connection:
        ender = threading.Thread(target=end)
        ender.start()
        body = {"command": "sleep 60", "cwd": "/", "timeout": 90}
        with pytest.raises(SandboxDied, match=how):
            connection.post_json("/api/bash/execute_bash_command", body)
        noticed_at = time.monotonic()
        ender.join()
    assert noticed_at - gone_at[0] < 1.0
