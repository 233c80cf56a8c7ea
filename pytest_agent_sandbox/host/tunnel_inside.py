"""The inner end of a `Tunnel`, a process of root in the container.

It is sent there behind the text of `multiplexer`, whose names it uses. First it looks whether an
isolated container has no network but this one, and says what is wrong with that in a line of JSON.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    from pytest_agent_sandbox.host.multiplexer import LARGEST, Ends, Inside, Multiplexer

_LOOPBACK = "127.0.0.1"
# Addresses that must be out of reach: the internet, clouds' metadata, the engine's usual bridge.
_OUTSIDE = ("1.1.1.1", "169.254.169.254", "172.17.0.1", "10.0.0.1", "2606:4700:4700::1111")
_PATIENCE = 1.0
# ioctl's number for the flags of an interface, and the one that says that it is up (netdevice(7)).
_GET_FLAGS, _UP = 0x8913, 1


def ways_out() -> list[str]:
    """Return what there is in this container that leads out of it, in words."""
    with open("/proc/net/dev") as file:
        names = [line.partition(":")[0].strip() for line in file if ":" in line]
    # Kernels put interfaces that are down, such as tunl0, into every container.
    found = [
        f"there is a network interface {name}" for name in names if name != "lo" and is_up(name)
    ]
    for address in _OUTSIDE:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            # Connecting this kind sends nothing: it asks whether there is a way.
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.settimeout(_PATIENCE)
                probe.connect((address, 53))
        except OSError:
            continue
        found.append(f"there is a way to {address}")
    return found


def is_up(interface: str) -> bool:
    """Tell whether a network interface is up: nobody in the container can bring one up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        request = struct.pack("16sH14s", interface.encode()[:15], 0, b"")
        try:
            answer = fcntl.ioctl(end, _GET_FLAGS, request)
        except OSError:
            return True  # unknown, so it counts as up
    return bool(struct.unpack("16sH14s", answer)[1] & _UP)


async def connect(port: int) -> Ends:
    """Connect to what the outer end asks for: a server in this container."""
    return await asyncio.open_connection(_LOOPBACK, port)


def listeners(places: Sequence[Inside]) -> tuple[dict[int, socket.socket], dict[int, str]]:
    """Listen for connections outwards.

    Args:
        places: Where.

    Returns:
        What listens, and why something does not, by the places' numbers.
    """
    found, problems = {}, {}
    for number, (address, port) in enumerate(places):
        end = socket.socket()
        try:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            end.bind((address, port))
            end.listen(100)
        except OSError as error:
            end.close()
            problems[number] = str(error.strerror)
        else:
            found[number] = end
    return found, problems


async def serve(ends: dict[int, socket.socket], line: bytes) -> None:
    """Carry connections until the outer end is gone.

    Args:
        ends: What listens for connections outwards.
        line: What the outer end is told first.
    """
    loop = asyncio.get_event_loop()
    source = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(source), sys.stdin.buffer)
    drain = asyncio.streams.FlowControlMixin(loop)
    transport, _ = await loop.connect_write_pipe(lambda: drain, os.fdopen(1, "wb", 0))
    target = asyncio.StreamWriter(transport, drain, None, loop)

    async def send(data: bytes) -> None:
        target.write(data)
        await target.drain()

    multiplexer = Multiplexer(send, connect, 2)
    sending = asyncio.ensure_future(multiplexer.run())
    try:
        async with listening(ends, multiplexer):
            await send(line)
            while True:
                data = await source.read(LARGEST)
                if not data:
                    break
                multiplexer.feed(data)
    finally:
        sending.cancel()


@asynccontextmanager
async def listening(
    ends: dict[int, socket.socket], multiplexer: Multiplexer
) -> AsyncIterator[None]:
    """Take connections outwards."""

    def accept(number: int) -> Any:
        return lambda reader, writer: multiplexer.accept(number, reader, writer)

    servers = [await asyncio.start_server(accept(number), sock=end) for number, end in ends.items()]
    try:
        yield
    finally:
        for server in servers:
            server.close()


def look_around(
    places: Sequence[Inside], is_isolated: bool
) -> tuple[Optional[dict[int, socket.socket]], str]:
    """Return what listens for connections outwards, if all is well, and the line that tells.

    Args:
        places: Where to listen.
        is_isolated: Whether there is to be no other way out.
    """
    problems = ways_out() if is_isolated else []
    ends, unheard = listeners([] if problems else places)
    line = json.dumps({"problems": problems, "unheard": unheard}) + "\n"
    return (None if problems else ends), line


def main(places: Sequence[Inside], is_isolated: bool) -> None:
    """Look around, tell, and carry.

    Args:
        places: On which to listen for connections outwards.
        is_isolated: Whether there is to be no other way out.
    """
    ends, line = look_around(places, is_isolated)
    if ends is None:
        sys.stdout.write(line)
        sys.stdout.flush()
        return
    asyncio.run(serve(ends, line.encode()))
