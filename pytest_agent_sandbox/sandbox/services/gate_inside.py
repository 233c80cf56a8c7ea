"""The inner end of a service's gate, a process of root in the service's network namespace.

It gives a service without a network an address of its own, so that the service sees connections
from another address than 127.0.0.1, as elsewhere: databases trust that one without a password.
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import sys
import time
from collections.abc import Sequence

# ioctl's numbers for an interface's address and netmask (netdevice(7)).
_SET_ADDRESS, _SET_NETMASK = 0x8916, 0x891C
_PAUSE = 0.02
_CONNECT_PATIENCE = 1.0


def give_address(address: str) -> None:
    """Give the loopback interface one more address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        for number, value in ((_SET_ADDRESS, address), (_SET_NETMASK, "255.255.255.255")):
            packed = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(end, number, struct.pack("16s16s8x", b"lo:0", packed))


def await_ports(address: str, ports: Sequence[int]) -> None:
    """Wait until all ports take connections."""
    for port in ports:
        while True:
            try:
                socket.create_connection((address, port), _CONNECT_PATIENCE).close()
            except OSError:
                time.sleep(_PAUSE)
            else:
                break


def main(address: str, is_own: bool, ports: Sequence[int]) -> None:
    """Make the address if it is to be made, wait for ports, and say when all is done.

    Args:
        address: The service's address.
        is_own: Whether the address is to be made.
        ports: The ports to wait for.
    """
    if is_own:
        give_address(address)
    await_ports(address, ports)
    sys.stdout.write(json.dumps({"done": True}) + "\n")
    sys.stdout.flush()
