"""Sockets that notice while they wait that waiting has become pointless."""

from __future__ import annotations

import math
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from pytest_agent_sandbox.client.guard import GUARD_INTERVAL, Guard
from pytest_agent_sandbox.client.lookups import addresses_of

#: Seconds that a request and its answer may take together, however much is going on.
LONGEST_REQUEST = 1800.0
#: The extension of a request that says when it and its answer end, by the monotonic clock.
END = "end"


class GuardedTransport(httpx.BaseTransport):
    """HTTP over sockets that ask the guard while they wait.

    A paused container, or one that lost its network, keeps its connections open and says nothing:
    without the guard such a request would hang until the read timeout. httpx's own transport has
    no public way to give it other sockets; httpcore, below it, has.

    A request with the extension `END` is over at that time, whatever comes of an answer by then.
    """

    def __init__(
        self, check: Guard, check_silence: Guard, tls: ssl.SSLContext | None = None
    ) -> None:
        self._backend = _GuardedBackend(check, check_silence)
        self._connections = httpcore.ConnectionPool(
            ssl_context=tls,
            # Each request has a connection of its own: after an error the server closes one with a
            # delay, which would break whatever request came next. On loopback it costs nothing.
            max_keepalive_connections=0,
            network_backend=self._backend,
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and return its answer, the body not yet read."""
        url = request.url
        end = self._backend.request.end = request.extensions.get(END, math.inf)
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
            stream=_Body(answer, end),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()


class _Body(httpx.SyncByteStream):
    """The body of an answer, as it comes."""

    def __init__(self, answer: httpcore.Response, end: float) -> None:
        self._answer = answer
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        with _errors_of_httpx():
            for piece in self._answer.iter_stream():
                if time.monotonic() >= self._end:  # one reading may bring thousands of pieces
                    raise httpcore.ReadTimeout("timed out in the middle of the answer")
                yield piece

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


class _Request(threading.local):
    """The request that this thread makes, and so for which it opens a connection."""

    end = math.inf


class _GuardedBackend(httpcore.NetworkBackend):
    def __init__(self, check: Guard, check_silence: Guard) -> None:
        self.request = _Request()
        self._check = check
        self._check_silence = check_silence
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **kwargs: Any
    ) -> httpcore.NetworkStream:
        end = min(self.request.end, time.monotonic() + LONGEST_REQUEST)
        until = time.monotonic() + _shorter(timeout, end)
        try:
            addresses = addresses_of(host, port, until, self._check)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        stream = self._connect_any(addresses, port, until, *args, **kwargs)
        return _GuardedStream(stream, self._check, self._check_silence, end)

    def _connect_any(
        self, addresses: list[str], port: int, until: float, *args: Any, **kwargs: Any
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers; each gets a share of the time."""
        while True:
            address, *others = addresses
            share = _shorter(None, until) / len(addresses)
            try:
                return self._backend.connect_tcp(address, port, share, *args, **kwargs)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if not others:
                    raise
            addresses = others


class _GuardedStream(httpcore.NetworkStream):
    """The connection of one request, until an end that nothing which comes puts off."""

    def __init__(
        self, stream: httpcore.NetworkStream, check: Guard, check_silence: Guard, end: float
    ) -> None:
        self._stream = stream
        self._check = check
        self._check_silence = check_silence
        self._begun = self._checked = time.monotonic()
        self._end = end

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        until = self._until(timeout)
        while True:
            self._look_up(httpcore.ReadTimeout)
            try:
                return self._stream.read(max_bytes, _shorter(GUARD_INTERVAL, until))
            except httpcore.ReadTimeout:
                self._check_silence()
                if time.monotonic() >= until:
                    self._look_up(httpcore.ReadTimeout)
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # httpcore's own would begin its timeout anew with each byte that the server takes.
        connection: socket.socket = self._stream.get_extra_info("socket")
        left = memoryview(buffer)
        until = self._until(timeout)
        while left:
            self._look_up(httpcore.WriteTimeout)
            try:
                connection.settimeout(_shorter(GUARD_INTERVAL, until))
                left = left[connection.send(left) :]
            except TimeoutError as error:
                self._check_silence()
                if time.monotonic() >= until:
                    self._look_up(httpcore.WriteTimeout)
                    raise httpcore.WriteTimeout("timed out") from error
            except OSError as error:
                raise httpcore.WriteError(str(error)) from error
            else:
                until = self._until(timeout)

    def _until(self, timeout: float | None) -> float:
        """Return when to bear no more silence that begins now."""
        return self._end if timeout is None else min(self._end, time.monotonic() + timeout)

    def _look_up(self, error: type[httpcore.TimeoutException]) -> None:
        """Ask the guard now and then, and look at the clock, also while there is no end of bytes.

        Raises:
            httpcore.TimeoutException: It is past the request's end.
        """
        now = time.monotonic()
        if now - self._checked > GUARD_INTERVAL:
            self._checked = now
            self._check()
        if now >= self._end:
            raise error(f"timed out: it took over {round(self._end - self._begun, 1):g} s")

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        timeout = _shorter(timeout, self._end)
        stream = self._stream.start_tls(ssl_context, server_hostname, timeout)
        return _GuardedStream(stream, self._check, self._check_silence, self._end)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _shorter(timeout: float | None, end: float) -> float:
    """Return the seconds of a timeout, or until an end, where that is sooner."""
    left = max(0.001, end - time.monotonic())
    return left if timeout is None else min(timeout, left)
