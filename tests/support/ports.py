"""Ports of this machine that nobody listens at."""

from __future__ import annotations

import contextlib
import socket


def free_ports(count: int) -> int:
    """Return the first of so many free ports in a row."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
        with contextlib.suppress(OSError), contextlib.ExitStack() as listening:
            for number in range(count):
                taken = listening.enter_context(socket.socket())
                taken.bind(("127.0.0.1", port + number))
            return port
