"""A link to a process of a container: a program there that passes on what is sent, both ways."""

from __future__ import annotations

import os
import select
import socket
import time
from typing import Any, List


def main(address: str, patience: float) -> None:
    """Connect standard input and output with whoever listens at an abstract address.

    Args:
        address: The address.
        patience: Seconds in which somebody has to listen there.
    """
    process = socket.socket(socket.AF_UNIX)
    deadline = time.monotonic() + patience
    while True:
        try:
            process.connect("\0" + address)
            break
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    # Only now may orders come: what is sent earlier ends in the buffer that this text came by.
    os.write(1, b"{}\n")
    ends: List[Any] = [0, process]
    while True:
        ready, _, _ = select.select(ends, [], [])
        if 0 in ready:
            sent = os.read(0, 65536)
            if not sent:
                return
            process.sendall(sent)
        if process in ready:
            answered = process.recv(65536)
            if not answered:
                return
            while answered:
                answered = answered[os.write(1, answered) :]
