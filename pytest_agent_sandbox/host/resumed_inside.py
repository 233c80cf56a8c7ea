"""The inner end of a `Tunnel` whose stream may break off: a process that outlives it.

It is sent to the container behind the texts of `multiplexer`, `resumption` and `tunnel_inside`,
whose names it uses. Who connects to its address, one after the other, carries the stream on.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from pytest_agent_sandbox.host.multiplexer import LARGEST, Inside, Multiplexer, TunnelError
    from pytest_agent_sandbox.host.resumption import FRAME, MOST_KEPT, Resumption, ResumptionError
    from pytest_agent_sandbox.host.tunnel_inside import connect, listening, look_around

# Seconds for which nobody may carry the stream on, before this ends.
_GRACE = 120.0


class Carrier:
    """The stream, over whichever connection there is."""

    def __init__(self) -> None:
        self._state = Resumption()
        self._writer: Optional[asyncio.StreamWriter] = None
        self._changed = asyncio.Event()
        self._multiplexer = Multiplexer(self._send, connect, 2)

    async def run(self, ends: dict[int, socket.socket], listener: socket.socket) -> None:
        """Carry connections until nobody carries the stream on.

        Args:
            ends: What listens for connections outwards.
            listener: Where those connect that carry the stream.
        """
        sending = asyncio.ensure_future(self._multiplexer.run())
        server = await asyncio.start_unix_server(self._carry, sock=listener)
        async with listening(ends, self._multiplexer):
            last, loop = 0.0, asyncio.get_event_loop()
            last = loop.time()
            while loop.time() - last < _GRACE and not sending.done():
                await asyncio.sleep(1)
                if self._writer is not None:
                    last = loop.time()
        server.close()
        sending.cancel()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Go on over a connection, which is root's: nobody else is let in."""
        end = writer.get_extra_info("socket")
        user = struct.unpack("3i", end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        try:
            if user != 0:
                return
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            again = self._state.again(await reader.readexactly(FRAME.size))
            # Nothing may come between these.
            writer.write(self._state.hello() + again)
            self._writer = writer
            self._changed.set()
            while True:
                data = await reader.read(LARGEST)
                if not data or self._writer is not writer:
                    break
                new, answer = self._state.feed(data)
                for piece in new:
                    self._multiplexer.feed(piece)
                if answer:
                    writer.write(answer)
                self._changed.set()
        except (OSError, asyncio.IncompleteReadError, ResumptionError, TunnelError):
            pass  # it is closed, and another one may go on
        finally:
            if self._writer is writer:
                self._writer = None
            writer.close()

    async def _send(self, data: bytes) -> None:
        while self._state.kept > MOST_KEPT:
            self._changed.clear()
            await self._changed.wait()
        frames = self._state.pack(data)
        writer = self._writer
        if writer is not None:
            with suppress(OSError):  # what is lost is sent again over the next connection
                writer.write(frames)
                await writer.drain()


def main(places: Sequence[Inside], is_isolated: bool, address: str) -> None:
    """Look around, tell, and carry in a process of its own, which stays.

    Args:
        places: On which to listen for connections outwards.
        is_isolated: Whether there is to be no other way out.
        address: The abstract address at which the stream is carried on.
    """
    ends, line = look_around(places, is_isolated)
    listener = socket.socket(socket.AF_UNIX)
    if ends is not None:
        listener.bind("\0" + address)
        listener.listen(4)
        if os.fork() == 0:
            os.setsid()
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(nowhere, stream)
            asyncio.run(_run(ends, listener))
            os._exit(0)
    sys.stdout.write(line)
    sys.stdout.flush()
    os._exit(0)


async def _run(ends: dict[int, socket.socket], listener: socket.socket) -> None:
    await Carrier().run(ends, listener)
