"""Places that programs in an isolated sandbox reach by name over TCP, and where they lead.

A name has an address of its own of the sandbox's loopback, so each port stays what it is. Who
connects there is carried over the tunnel to the one target that the place has here: whatever is
said on the connection, it leads nowhere else.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

from pytest_agent_sandbox.host.multiplexer import Connect, Ends, Inside

#: A name, as programs in the sandbox know it, and a port.
Place = tuple[str, int]

#: Set in a sandbox with places below port 1024, whose root may lack the capability for these.
ANY_PORT = {"net.ipv4.ip_unprivileged_port_start": "0"}
_PRIVILEGED = 1024

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9.]+")
# 127.64.0.0/10: other addresses of the loopback are in use, such as 127.0.0.11 for DNS.
_FIRST, _COUNT = int(IPv4Address("127.64.0.1")), (1 << 22) - 2


class Forwards:
    """What the places of one sandbox lead to.

    Args:
        places: All that it will ever have; each leads nowhere until `lead` has said where.
    """

    def __init__(self, places: Iterable[Place]) -> None:
        self._targets: dict[Place, Connect | None] = dict.fromkeys(places)

    @property
    def places(self) -> frozenset[Place]:
        """All of them."""
        return frozenset(self._targets)

    def lead(self, name: str, port: int, connect: Connect | None) -> None:
        """Say where new connections to a place lead; connections that are there go on.

        Args:
            name: Its name.
            port: Its port.
            connect: Makes a connection, in the tunnel's event loop; `OSError` refuses it. None
                for nowhere.

        Raises:
            KeyError: The sandbox was not started with this place.
        """
        if (name, port) not in self._targets:
            raise KeyError((name, port))
        self._targets[name, port] = connect

    def ways(self) -> dict[Inside, Connect]:
        """Return where the sandbox listens, and what makes a connection there."""
        addresses = addresses_inside(self._targets)
        return {(addresses[name], port): self._way((name, port)) for name, port in self._targets}

    def _way(self, place: Place) -> Connect:
        async def connect() -> Ends:
            target = self._targets[place]
            if target is None:
                raise ConnectionRefusedError(f"{place[0]}:{place[1]} leads nowhere")
            return await target()

        return connect


def dial(host: str, port: int) -> Connect:
    """Return what connects to one address, as seen from this machine; nothing of it is checked."""

    async def connect() -> Ends:
        return await asyncio.open_connection(host, port)

    return connect


def addresses_inside(places: Iterable[Place]) -> dict[str, str]:
    """Return the loopback address of each name: its own, and the same in every run."""
    found: dict[str, str] = {}
    for name in sorted({name for name, _ in places}):
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        while (address := str(IPv4Address(_FIRST + number % _COUNT))) in found.values():
            number += 1
        found[name] = address
    return found


def places_of(allow: Iterable[str], own_ports: Iterable[int]) -> frozenset[Place]:
    """Return the places that an isolated sandbox reaches by name, of those it may connect to.

    An address has no name that could lead elsewhere, and the ports of the sandbox's own servers
    are theirs on all addresses: such places are reached by the proxy only.

    Args:
        allow: The places, as `allowed_places` returns them.
        own_ports: The ports of the sandbox's own servers.
    """
    own, found = set(own_ports), set()
    for place in allow:
        name, _, port = place.rpartition(":")
        is_here = name == "localhost" or name.endswith(".localhost")
        if _NAME.fullmatch(name) and not _NUMBER.fullmatch(name) and not is_here:
            found.add((name, int(port)))
    return frozenset(place for place in found if place[1] not in own)


def sysctls_for(places: Iterable[Place]) -> Mapping[str, str]:
    """Return the kernel settings that a sandbox needs to listen for its places."""
    return ANY_PORT if any(port < _PRIVILEGED for _, port in places) else {}
