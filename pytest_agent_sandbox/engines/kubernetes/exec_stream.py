"""The stream to a process in a pod: a WebSocket with channels, used from any thread."""

from __future__ import annotations

import asyncio
import json
import queue
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

_STDIN, _STDOUT, _STDERR, _STATUS = range(4)
# The most bytes of a message; larger ones pass through no buffer on their way.
_LARGEST = 256 * 1024
# Messages that wait to be read before no more are taken.
_MOST_WAITING = 64
_CLOSE_PATIENCE = 2.0


class ExecStream:
    """The three standard streams of a process in a pod, and how it ended.

    Args:
        socket: The open WebSocket.
        loop: The loop that it belongs to, which runs in a thread of its own.
        on_close: Called with this once it is closed.
    """

    def __init__(
        self,
        socket: ClientConnection,
        loop: asyncio.AbstractEventLoop,
        on_close: Callable[[ExecStream], object],
    ) -> None:
        self._socket = socket
        self._loop = loop
        self._on_close = on_close
        self._arrived: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._has_room = asyncio.Event()
        self._is_over = False
        self._reason = "it has ended"
        self._error: type[ConnectionError] = ConnectionError
        #: How the process ended, where that was told.
        self.exit_code: int | None = None
        self._pump = loop.create_task(self._receive())

    def send(self, data: bytes, timeout: float | None) -> None:
        """Send bytes to the process's standard input.

        Raises:
            OSError: It is gone, or does not read.
        """
        sending = asyncio.run_coroutine_threadsafe(self._send(data), self._loop)
        try:
            sending.result(timeout)
        except (ConnectionClosed, CancelledError, RuntimeError) as error:
            raise ConnectionError(self._reason) from error
        except TimeoutError:
            sending.cancel()
            raise

    def receive(self, timeout: float | None) -> tuple[bool, bytes]:
        """Return the next bytes that the process prints, and whether they are of standard error.

        Raises:
            TimeoutError: It prints nothing.
            OSError: It is gone.
        """
        while True:
            if self._is_over and self._arrived.empty():
                raise self._error(self._reason)
            try:
                message = self._arrived.get(timeout=timeout)
            except queue.Empty:
                raise TimeoutError("it does not answer") from None
            if message is None:
                self._is_over = True
                continue
            if self._arrived.qsize() < _MOST_WAITING // 2:
                with suppress(RuntimeError):  # the loop has ended
                    self._loop.call_soon_threadsafe(self._has_room.set)
            channel, data = message[0], message[1:]
            if channel == _STATUS:
                self._note_end(data)
            elif data and channel in (_STDOUT, _STDERR):
                return channel == _STDERR, data

    def close(self) -> None:
        """End it, and whoever reads or sends. May be called more than once."""
        self._on_close(self)
        if self._loop.is_running():
            with suppress(RuntimeError, TimeoutError, CancelledError):
                asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_CLOSE_PATIENCE)
        self._arrived.put(None)

    async def _send(self, data: bytes) -> None:
        for begin in range(0, len(data), _LARGEST):
            await self._socket.send(bytes([_STDIN]) + data[begin : begin + _LARGEST])

    async def _receive(self) -> None:
        try:
            async for message in self._socket:
                if isinstance(message, bytes) and message:
                    self._arrived.put(message)
                while self._arrived.qsize() >= _MOST_WAITING:
                    self._has_room.clear()
                    if self._arrived.qsize() >= _MOST_WAITING:
                        await self._has_room.wait()
        except ConnectionClosed as error:
            self._error = ConnectionAbortedError
            self._reason = f"the stream to the pod broke off: {error}"
        finally:
            self._arrived.put(None)

    async def _end(self) -> None:
        self._pump.cancel()
        # A close that is answered takes a round trip, which nobody waits for.
        self._socket.transport.abort()
        with suppress(Exception, asyncio.CancelledError):
            await self._pump

    def _note_end(self, data: bytes) -> None:
        with suppress(ValueError):
            status: dict[str, Any] = json.loads(data)
            if status.get("status") == "Success":
                self.exit_code = 0
                return
            self._reason = str(status.get("message") or self._reason)
            for cause in (status.get("details") or {}).get("causes") or ():
                if cause.get("reason") == "ExitCode":
                    self.exit_code = int(cause["message"])
