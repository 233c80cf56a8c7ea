"""Many connections over one stream of bytes.

It runs at both ends of a `Tunnel`: in this process, and in a container, where it is sent to as
text. So it is a program of its own for whatever Python >= 3.8 there is, with the standard library
only, and neither end trusts the other.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Ends]]
#: An address of the container's loopback, and a port of it.
Inside = tuple[str, int]

#: A frame: the connection's number, what it is, and the length of what follows.
HEADER = struct.Struct(">IBI")
OPEN, DATA, END, RESET, CREDIT = range(5)
#: The most bytes of a frame.
LARGEST = 64 * 1024
# The most bytes of a connection on their way: a slow reader holds up nobody else.
_WINDOW = 256 * 1024
_MOST_CONNECTIONS = 256
# The most frames that are sent by one call.
_AT_ONCE = 8
# The most bytes that wait to be sent: the wait for an end that does not read has a limit.
_MOST_WAITING = 2 * _MOST_CONNECTIONS * _WINDOW
_NUMBER = struct.Struct(">I")


class TunnelError(Exception):
    """A breach of the protocol by the other end."""


class Multiplexer:
    """One end of the stream.

    Args:
        send: Sends bytes to the other end.
        connect: Makes a connection that the other end asks for by a port; `OSError` refuses it.
        first: The number of the first connection that is opened here: 1 at one end, 2 at the other.
    """

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[Any]],
        connect: Callable[[int], Awaitable[Ends]],
        first: int,
    ) -> None:
        self._send = send
        self._connect = connect
        self._next = first
        self._of_the_other = (first + 1) % 2
        self._connections: dict[int, _Connection] = {}
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._waiting = 0
        self._received = bytearray()
        self._has_ended = False

    async def run(self) -> None:
        """Send what there is to send, until cancelled; then all connections end."""
        try:
            while True:
                frames = [await self._outgoing.get()]
                while not self._outgoing.empty() and len(frames) < _AT_ONCE:
                    frames.append(self._outgoing.get_nowait())
                data = b"".join(frames)
                await self._send(data)
                self._waiting -= len(data)
        finally:
            self._has_ended = True
            tasks = [connection.task for connection in self._connections.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def accept(self, port: int, reader: asyncio.StreamReader, writer: Any) -> None:
        """Carry a connection that was made here to a port at the other end."""
        if self._has_ended or self._count(self._of_the_other ^ 1) >= _MOST_CONNECTIONS:
            writer.close()
            return
        number, self._next = self._next, self._next + 2
        self.put(number, OPEN, _NUMBER.pack(port))

        async def ends() -> Ends:
            return reader, writer

        try:
            await asyncio.wait([self._begin(number, ends)])
        finally:
            writer.close()

    def feed(self, data: bytes) -> None:
        """Take what the other end has sent.

        Raises:
            TunnelError: It does not keep to the protocol.
        """
        if self._waiting > _MOST_WAITING:
            raise TunnelError("it does not read")
        self._received += data
        while len(self._received) >= HEADER.size:
            number, kind, size = HEADER.unpack_from(self._received)
            if size > LARGEST:
                raise TunnelError(f"a frame of {size} bytes")
            if len(self._received) < HEADER.size + size:
                return
            payload = bytes(self._received[HEADER.size : HEADER.size + size])
            del self._received[: HEADER.size + size]
            self._take(number, kind, payload)

    def put(self, number: int, kind: int, payload: bytes = b"") -> None:
        """Have a frame sent."""
        self._waiting += HEADER.size + len(payload)
        self._outgoing.put_nowait(HEADER.pack(number, kind, len(payload)) + payload)

    def _take(self, number: int, kind: int, payload: bytes) -> None:
        if kind == OPEN:
            self._open(number, payload)
        elif kind not in (DATA, END, RESET, CREDIT):
            raise TunnelError(f"a frame of kind {kind}")
        else:
            connection = self._connections.get(number)
            if connection is not None:  # else it has just ended here
                connection.take(kind, payload)

    def _open(self, number: int, payload: bytes) -> None:
        if number % 2 != self._of_the_other or number in self._connections:
            raise TunnelError(f"a connection of number {number}")
        if len(payload) != _NUMBER.size:
            raise TunnelError("a connection to nowhere")
        if self._count(self._of_the_other) >= _MOST_CONNECTIONS:
            self.put(number, RESET)
            return
        (port,) = _NUMBER.unpack(payload)
        self._begin(number, lambda: self._connect(port))

    def _count(self, side: int) -> int:
        """Count the connections that one side has opened: each side has a limit of its own."""
        return sum(number % 2 == side for number in self._connections)

    def _begin(self, number: int, connect: Connect) -> asyncio.Future[None]:
        connection = _Connection(self, number)
        self._connections[number] = connection  # at once: what it sends may follow in the same read
        connection.task = asyncio.ensure_future(connection.carry(connect))
        connection.task.add_done_callback(lambda _: self._connections.pop(number))
        return connection.task


class _Connection:
    """One connection: what it gets goes to the other end, and what comes from there to it."""

    def __init__(self, multiplexer: Multiplexer, number: int) -> None:
        self.task: asyncio.Future[None]
        self._multiplexer = multiplexer
        self._number = number
        self._credit = _WINDOW
        self._has_credit = asyncio.Event()
        self._inbox: asyncio.Queue[bytes] = asyncio.Queue()
        self._waiting = 0
        self._is_reset = False
        self._has_ended = False

    def take(self, kind: int, payload: bytes) -> None:
        if kind == CREDIT:
            if len(payload) != _NUMBER.size:
                raise TunnelError("a credit of nothing")
            self._credit += _NUMBER.unpack(payload)[0]
            if self._credit > _WINDOW:
                raise TunnelError("credit for what was not sent")
            self._has_credit.set()
        elif kind == RESET:
            self._is_reset = True
            self.task.cancel()
        elif self._has_ended:
            raise TunnelError("more after the end")
        elif kind == END:
            self._has_ended = True
            self._inbox.put_nowait(b"")
        elif payload:
            self._waiting += len(payload)
            if self._waiting > _WINDOW:
                raise TunnelError("more bytes than there was credit for")
            self._inbox.put_nowait(payload)

    async def carry(self, connect: Connect) -> None:
        """Carry until both directions have ended, or one has failed."""
        halves: list[asyncio.Future[None]] = []
        writer = None
        try:
            reader, writer = await connect()
            halves = [
                asyncio.ensure_future(self._outward(reader)),
                asyncio.ensure_future(self._inward(writer)),
            ]
            await asyncio.gather(*halves)
            self._is_reset = True  # it has ended by itself: there is nothing to tell
        except OSError:
            pass  # refused, or broken: the other end is told
        finally:
            for half in halves:
                half.cancel()
            if not self._is_reset:
                self._multiplexer.put(self._number, RESET)
            if writer is not None:
                writer.close()

    async def _outward(self, reader: asyncio.StreamReader) -> None:
        while True:
            while self._credit <= 0:
                self._has_credit.clear()
                await self._has_credit.wait()
            data = await reader.read(min(LARGEST, self._credit))
            if not data:
                self._multiplexer.put(self._number, END)
                return
            self._credit -= len(data)
            self._multiplexer.put(self._number, DATA, data)

    async def _inward(self, writer: asyncio.StreamWriter) -> None:
        while True:
            data = await self._inbox.get()
            if not data:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(data)
            await writer.drain()
            self._waiting -= len(data)
            self._multiplexer.put(self._number, CREDIT, _NUMBER.pack(len(data)))
