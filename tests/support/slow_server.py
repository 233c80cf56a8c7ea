"""A server that answers a few requests well, and whose later answers never come to an end."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_STATE = {"id": "s", "kind": "ConversationStateUpdateEvent", "key": "full_state", "value": {}}
#: What it says to everything: commands and runs never come to an end.
_ANSWER = {"id": "x", "version": "1.58.0", "items": [], "execution_status": "running"}
#: Seconds from a byte to the next.
_DRIP = 0.02

_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "silent": (b"", b""),
    "status line drips": (b"HTTP/1.1 200 ", b"O"),
    "header drips": (b"HTTP/1.1 200 OK\r\nX: ", b"a"),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "silent in the body": (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{", b""),
    "body drips": (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
    "chunks drip": (_CHUNKED, b"1\r\n \r\n"),
    "chunk extension drips": (_CHUNKED + b"1;", b"a"),
    "trailer drips": (_CHUNKED + b"0\r\nX: ", b"a"),
    "error drips": (b"HTTP/1.1 503 x\r\nContent-Length: 100000\r\n\r\n", b" "),
    "takes no request": (b"", b""),
    "takes it bytewise": (b"", b""),
    "flood of 100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000),
    "flood of chunks": (_CHUNKED, b"1\r\n \r\n" * 2000),
}
#: The ways in which an answer never ends.
ENDLESS = tuple(_ENDLESS)


class SlowServer:
    """Answers as an agent server does, until it is to answer without end.

    Attributes:
        well: How many more requests it answers well; None for all.
        how: In which of the `ENDLESS` ways it answers then.
    """

    def __init__(self) -> None:
        self.well: int | None = None
        self.how = "silent"
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.host = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> SlowServer:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        for opened in (*self._open, self._listener):
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()
        for thread in self._threads:
            thread.join(5)

    def _start(self, run: Callable[..., None], *given: Any) -> None:
        thread = threading.Thread(target=run, args=given, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                opened = self._listener.accept()[0]
            except OSError:
                return
            self._open.append(opened)
            self._start(self._serve, opened)

    def _serve(self, opened: socket.socket) -> None:
        with contextlib.suppress(OSError), opened:
            if self.well == 0 and self.how == "takes no request":
                self._closing.wait()
            if self.well == 0 and self.how == "takes it bytewise":
                while opened.recv(1):
                    self._closing.wait(_DRIP)
            head = self._request(opened)
            if "upgrade: websocket" in head.lower():
                self._follow(opened, head)
            elif self.well == 0:
                self._answer_without_end(opened)
            else:
                if self.well is not None:
                    self.well -= 1
                content = json.dumps(_ANSWER).encode()
                opened.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content
                )

    def _request(self, opened: socket.socket) -> str:
        received = b""
        while b"\r\n\r\n" not in received:
            received += opened.recv(65536) or _gone()
        head, _, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        while len(body) < int(length[1] if length else 0):
            body += opened.recv(65536) or _gone()
        return head.decode()

    def _answer_without_end(self, opened: socket.socket) -> None:
        first, rest = _ENDLESS[self.how]
        opened.sendall(first)
        while not self._closing.is_set():
            if rest:
                opened.sendall(rest)
            if len(rest) < 1000:
                self._closing.wait(_DRIP)

    def _follow(self, opened: socket.socket, head: str) -> None:
        """The event stream of a conversation in which nothing happens."""
        key = re.search(r"(?i)sec-websocket-key: (\S+)", head)
        assert key is not None
        proof = base64.b64encode(hashlib.sha1((key[1] + _GUID).encode()).digest()).decode()
        state = json.dumps(_STATE).encode()
        assert len(state) < 126
        opened.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + f"Sec-WebSocket-Accept: {proof}\r\n\r\n".encode()
            + bytes((0x81, len(state)))
            + state
        )
        while opened.recv(65536):
            pass


def _gone() -> bytes:
    raise ConnectionError


@contextlib.contextmanager
def full_listener(address: tuple[str, int] = ("127.0.0.1", 0)) -> Iterator[str]:
    """The address of a listener that takes no connection: its queue is full."""
    with contextlib.ExitStack() as closing:
        listener = closing.enter_context(socket.create_server(address, backlog=0))
        for _ in range(8):
            one = closing.enter_context(socket.socket())
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
