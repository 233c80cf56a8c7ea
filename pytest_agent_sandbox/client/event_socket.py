"""A WebSocket for callers that block, over an event loop in a thread of its own.

websockets has a client that blocks, but over TLS it hangs for ever now and then (17.4): it reads
in one thread and writes in another, by one TLS connection, which OpenSSL does not bear, and waits
in `select` for what OpenSSL has read already.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import ssl
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect

from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.host.closing import Closing

#: Seconds for a closing handshake. The server loses nothing by an abrupt end.
_CLOSE_TIMEOUT = 0.02
#: Seconds for the thread to end.
_JOIN_TIMEOUT = 0.05
#: A whole state grows with the conversation; the library's own limit is 1 MiB.
_MAX_FRAME = 128 * 1024 * 1024
#: Frames that wait to be taken. That is quick: only a flood makes more of them.
_MAX_QUEUE = 8
#: Seconds that an event loop may need to tell that its time is over.
_GRACE = 1.0

_Frame = str | bytes


class _Carrying(NamedTuple):
    loop: asyncio.AbstractEventLoop
    task: asyncio.Task[None]
    room: asyncio.Semaphore


class EventSocket(Closing):
    """A WebSocket that is opened in the background, and read by one thread.

    Args:
        url: Its address. What authenticates may be in it: not for logs.
        addresses: The server's, tried one after the other.
        first: A frame to send at once; empty for none.
        timeout: Seconds to open it.
        tls: For `wss` addresses.
        name: The thread's name.
    """

    def __init__(
        self,
        url: str,
        addresses: Sequence[str],
        *,
        first: str = "",
        timeout: float,
        tls: ssl.SSLContext | None,
        name: str,
    ) -> None:
        self._url = url
        self._addresses = addresses
        self._first = first
        self._open_timeout = timeout
        self._tls = tls
        self._begun: Future[_Carrying] = Future()
        # What it brings, in order: None once it is open, frames, and the error that it ends by.
        self._brought: queue.SimpleQueue[_Frame | BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wait_until_open(self) -> None:
        """Wait until the server has accepted it.

        Raises:
            OSError: There is no connection, or there was none in time.
            WebSocketException: The server refused.
        """
        self._take(self._open_timeout + _GRACE)

    def receive(self, timeout: float | None = None) -> _Frame:
        """Return the next frame.

        Args:
            timeout: Seconds; None for no limit.

        Raises:
            TimeoutError: There was none in time.
            ConnectionClosed: There will be none.
        """
        frame = self._take(timeout)
        assert frame is not None
        with contextlib.suppress(RuntimeError):  # the loop has ended
            carrying = self._begun.result()
            carrying.loop.call_soon_threadsafe(carrying.room.release)
        return frame

    def close(self) -> None:
        """End it and its thread, within 70 ms; may be called from any thread, more than once."""
        with contextlib.suppress(Exception):  # it never began, or has ended
            carrying = self._begun.result()
            carrying.loop.call_soon_threadsafe(carrying.task.cancel)
        if threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_TIMEOUT)

    def _take(self, timeout: float | None) -> _Frame | None:
        try:
            brought = self._brought.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError("timed out waiting for the event stream") from None
        if isinstance(brought, BaseException):
            self._brought.put(brought)  # for whoever asks again
            raise brought
        return brought

    def _run(self) -> None:
        ended: BaseException = ConnectionError("the event stream was closed")
        try:
            asyncio.run(self._carry())
        except asyncio.CancelledError:
            pass  # closed
        except BaseException as error:  # noqa: BLE001 - who reads gets it
            ended = error
        finally:
            if not self._begun.done():
                self._begun.set_exception(ended)
            self._brought.put(ended)

    async def _carry(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        room = asyncio.Semaphore(_MAX_QUEUE)
        self._begun.set_result(_Carrying(asyncio.get_running_loop(), task, room))
        websocket = await self._open()
        try:
            if self._first:
                await websocket.send(self._first)
            self._brought.put(None)
            while True:
                await room.acquire()
                self._brought.put(await websocket.recv())
        finally:
            try:
                await websocket.close()
            finally:
                websocket.transport.abort()

    async def _open(self) -> ClientConnection:
        """Connect to the first of the addresses that answers; each gets a share of the time."""
        end = time.monotonic() + self._open_timeout
        addresses = list(self._addresses)
        while True:
            share = max(0.0, end - time.monotonic()) / len(addresses)
            try:
                return await self._open_at(addresses.pop(0), share)
            except OSError:
                if not addresses:
                    raise

    async def _open_at(self, address: str, timeout: float) -> ClientConnection:
        parts = urlsplit(self._url)
        return await _Connect(
            self._url,
            # Which is looked up already: the loop's own way has no end.
            host=address,
            port=parts.port or (443 if parts.scheme == "wss" else 80),
            ssl=self._tls,
            proxy=None,
            open_timeout=timeout,
            close_timeout=_CLOSE_TIMEOUT,
            max_size=_MAX_FRAME,
            max_queue=_MAX_QUEUE,
            compression=None,  # on loopback it saves nothing, and a small frame stays small
            ping_interval=None,  # the server pings
            logger=_quiet_logger(),
        )


class _Connect(connect):
    """As the library connects, but only to where it is told to."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Follow no redirect: servers are not trusted."""
        return exc


def _quiet_logger() -> logging.Logger:
    """Return a logger for websockets, which logs at DEBUG what it sends, the session key too."""
    quiet = seldom.logger(f"{__name__}.websockets")
    quiet.setLevel(logging.INFO)
    return quiet
