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
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_agent_sandbox.host.multiplexer import LARGEST, Ends, Multiplexer

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


async def serve(ports: Sequence[int]) -> None:
    """Carry connections until the outer end is gone.

    Args:
        ports: On which to listen for connections outwards.
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
        async with listening(ports, multiplexer):
            await send(b'{"problems": []}\n')
            while True:
                data = await source.read(LARGEST)
                if not data:
                    break
                multiplexer.feed(data)
    finally:
        sending.cancel()


@asynccontextmanager
async def listening(ports: Sequence[int], multiplexer: Multiplexer) -> AsyncIterator[None]:
    """Listen for connections outwards."""

    def listen(port: int) -> Awaitable[asyncio.AbstractServer]:
        return asyncio.start_server(
            lambda reader, writer: multiplexer.accept(port, reader, writer), _LOOPBACK, port
        )

    servers = [await listen(port) for port in ports]
    try:
        yield
    finally:
        for server in servers:
            server.close()


def main(ports: Sequence[int], is_isolated: bool) -> None:
    """Look around, tell, and carry.

    Args:
        ports: On which to listen for connections outwards.
        is_isolated: Whether there is to be no other way out.
    """
    problems = ways_out() if is_isolated else []
    if problems:
        sys.stdout.write(json.dumps({"problems": problems}) + "\n")
        sys.stdout.flush()
        return
    asyncio.run(serve(ports))
