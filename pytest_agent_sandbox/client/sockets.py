"""Sockets that notice while they wait that waiting has become pointless."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

#: Raises the reason when waiting has become pointless (a `SandboxError`), else returns. Cheap.
Guard = Callable[[], None]

#: Longest time, in seconds, that a wait goes without asking the guard.
GUARD_INTERVAL = 0.25
#: Seconds that a request and its answer may take together, however much is going on.
LONGEST_REQUEST = 1800.0


class GuardedTransport(httpx.BaseTransport):
    """HTTP over sockets that ask the guard while they wait.

    A paused container, or one that lost its network, keeps its connections open and says nothing:
    without the guard such a request would hang until the read timeout. httpx's own transport has
    no public way to give it other sockets; httpcore, below it, has.
    """

    def __init__(self, check: Guard, check_silence: Guard, *, secure: bool) -> None:
        self._connections = httpcore.ConnectionPool(
            # Certificates are loaded only where they are used: it takes tens of milliseconds.
            ssl_context=httpx.create_ssl_context() if secure else None,
            # Each request has a connection of its own: after an error the server closes one with a
            # delay, which would break whatever request came next. On loopback it costs nothing.
            max_keepalive_connections=0,
            network_backend=_GuardedBackend(check, check_silence),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and return its answer, the body not yet read."""
        url = request.url
        with _errors_of_httpx():
            answer = self._connections.handle_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()


class _Body(httpx.SyncByteStream):
    """The body of an answer, as it comes."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        with _errors_of_httpx():
            yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


@contextmanager
def _errors_of_httpx() -> Iterator[None]:
    """Raise httpx's error for each of httpcore's, which has the same name."""
    try:
        yield
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.ProxyError,
        httpcore.UnsupportedProtocol,
    ) as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from error


class _GuardedBackend(httpcore.NetworkBackend):
    def __init__(self, check: Guard, check_silence: Guard) -> None:
        self._check = check
        self._check_silence = check_silence
        self._backend = httpcore.SyncBackend()

    def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        stream = self._backend.connect_tcp(*args, **kwargs)
        return _GuardedStream(stream, self._check, self._check_silence)


class _GuardedStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, check: Guard, check_silence: Guard) -> None:
        self._stream = stream
        self._check = check
        self._check_silence = check_silence
        self._end = time.monotonic() + LONGEST_REQUEST  # each request has a stream of its own
        self._checked = time.monotonic()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self._look_up()
            left = GUARD_INTERVAL if deadline is None else deadline - time.monotonic()
            try:
                return self._stream.read(max_bytes, max(0.001, min(GUARD_INTERVAL, left)))
            except httpcore.ReadTimeout:
                self._check_silence()
                if deadline is not None and time.monotonic() >= deadline:
                    raise

    def _look_up(self) -> None:
        """Ask the guard now and then, also while there is no end of bytes."""
        now = time.monotonic()
        if now - self._checked > GUARD_INTERVAL:
            self._checked = now
            self._check()
        if now > self._end:
            raise httpcore.ReadTimeout(f"it took over {LONGEST_REQUEST:g} s")

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._look_up()
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(*args, **kwargs)
        return _GuardedStream(stream, self._check, self._check_silence)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
