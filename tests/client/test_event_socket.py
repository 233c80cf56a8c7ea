"""A WebSocket for callers that block."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.server import ServerConnection, serve

from pytest_agent_sandbox.client.event_socket import EventSocket
from tests.support.timing import eventually, measured

Handler = Callable[[ServerConnection], None]


@contextlib.contextmanager
def serving(handler: Handler) -> Iterator[str]:
    """The address of a server of WebSockets."""
    with serve(handler, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/x"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """The address of a server that answers each request so, and what it was sent."""
    heads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_all() -> None:
            with contextlib.suppress(OSError):
                while True:
                    opened = listener.accept()[0]
                    opens.append(opened)
                    heads.append(opened.recv(65536))
                    opened.sendall(answer)

        opens: list[socket.socket] = []
        thread = threading.Thread(target=answer_all)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{listener.getsockname()[1]}/x", heads
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for opened in opens:
                opened.close()


def opened(url: str, *, first: str = "", timeout: float = 5.0) -> EventSocket:
    return EventSocket(url, ["127.0.0.1"], first=first, timeout=timeout, tls=None, name="socket")


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    eventually(lambda: set(threading.enumerate()) <= before)


def test_what_comes_in_late_is_not_lost() -> None:
    def send(server: ServerConnection) -> None:
        assert server.recv() == "first"
        for number in range(20):
            time.sleep(0.02)
            server.send(str(number))
        server.recv()

    received: list[object] = []
    with serving(send) as url, opened(url, first="first") as websocket:
        websocket.wait_until_open()
        while len(received) < 20:
            with contextlib.suppress(TimeoutError):
                received.append(websocket.receive(0.005))
    assert received == [str(number) for number in range(20)]


def test_a_server_that_accepts_nothing_is_not_waited_for() -> None:
    with answering(b"") as (url, _), opened(url, timeout=0.3) as websocket:
        with measured(at_most=1.0), pytest.raises(TimeoutError):
            websocket.wait_until_open()
        with pytest.raises(TimeoutError):  # whoever asks again is told the same
            websocket.receive()


def test_no_redirect_is_followed() -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    with (
        answering(head) as (url, heads),
        opened(url) as websocket,
        pytest.raises(InvalidStatus),
    ):
        websocket.wait_until_open()
    assert len(heads) == 1


def test_a_reader_that_waits_is_told_of_the_end() -> None:
    with serving(lambda server: server.close(4001)) as url, opened(url) as websocket:
        websocket.wait_until_open()
        for _ in range(2):
            with pytest.raises(ConnectionClosed) as caught:
                websocket.receive()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 4001


def test_closing_ends_a_reader_that_waits() -> None:
    with serving(lambda server: server.recv()) as url, opened(url) as websocket:
        websocket.wait_until_open()
        threading.Timer(0.2, websocket.close).start()
        with measured(at_most=1.0), pytest.raises(ConnectionError):
            websocket.receive()


def test_what_nobody_reads_is_not_taken() -> None:
    sent: list[int] = []

    def flood(server: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                server.send("x" * 1_000_000)
                sent.append(1)

    with serving(flood) as url, opened(url) as websocket:
        websocket.wait_until_open()
        time.sleep(1.0)
        taken = len(sent)
        assert taken < 60
        for _ in range(100):
            websocket.receive(5)
        assert len(sent) > taken
