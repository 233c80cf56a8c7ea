"""What a sandbox can reach: the setting `network`, and what follows from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.host.egress import Egress
from pytest_agent_sandbox.host.host_route import CONTAINER_HOST_NAME
from pytest_agent_sandbox.host.multiplexer import Connect, Ends, Inside
from pytest_agent_sandbox.sandbox.forwards import Forwards, Place

#: Whatever the engine's default network lets it reach.
OPEN = "open"
#: The LLM gateway, and what is allowed by name.
ISOLATED = "isolated"
#: Nothing, and so no LLM either. Any other name is that of a network of the engine.
NONE = "none"

#: The address of the LLM gateway, and of the proxy, as seen in an isolated sandbox.
LOOPBACK = "127.0.0.1"
GATEWAY_PORT, PROXY_PORT = 7411, 7412
# What is in the sandbox itself.
_HERE = ("localhost", LOOPBACK, "::1")

#: Tells where the LLM gateway listens, if it does already.
GatewayAddress = Callable[[], tuple[str, int] | None]


@dataclass(frozen=True)
class WayToGateway:
    """How a sandbox reaches the LLM gateway.

    Attributes:
        address: Where that listens.
        host: The host by which the sandbox knows it.
        extra_hosts: The host names that the sandbox has to be told.
        is_tunneled: Whether its port is one of the sandbox's own loopback.
    """

    address: GatewayAddress = lambda: None
    host: str = CONTAINER_HOST_NAME
    extra_hosts: Mapping[str, str] = field(default_factory=dict)
    is_tunneled: bool = False

    @property
    def direct(self) -> tuple[str, ...]:
        """What programs in the sandbox are to reach past any proxy."""
        return (*dict.fromkeys((*_HERE, self.host)),)


def chosen_network(profile: str, network: str | None) -> str:
    """Return the network of a sandbox: a strict one is isolated, unless another is set.

    Raises:
        SettingsError: A strict one is to reach more than that.
    """
    if profile != "strict":
        return network or OPEN
    if network not in (None, ISOLATED, NONE):
        raise SettingsError(
            f"network: {network!r} is more than a sandbox with security = strict may reach, which "
            "is isolated (the default there) or none; use security = default"
        )
    return network or ISOLATED


def engine_network(network: str) -> str | None:
    """Return the engine's network that a container joins; None for its default one."""
    if network == OPEN:
        return None
    return NONE if network == ISOLATED else network


def check_allow(network: str, allow: frozenset[str]) -> None:
    """Raise `SettingsError` where places are allowed in a network that knows no such thing."""
    if allow and network != ISOLATED:
        raise SettingsError(
            f"allow: it names what an isolated sandbox may reach, and network is {network!r}; "
            "use network = isolated (--sandbox-network=isolated)"
        )


def network_environment(network: str, direct: Iterable[str] = ()) -> dict[str, str]:
    """Return what programs in a sandbox are told of its network.

    Args:
        network: The network.
        direct: Names that they are to reach past the proxy.
    """
    if network != ISOLATED:
        return {}
    # All of them: those of the image, or of the engine's command line, lead nowhere from there.
    names = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY")
    told = dict.fromkeys(names, f"http://{LOOPBACK}:{PROXY_PORT}") | {
        "NO_PROXY": ",".join((*_HERE, *direct))
    }
    return told | {name.lower(): value for name, value in told.items()}


def ways_out(
    network: str, gateway: WayToGateway, egress: Egress, forwards: Forwards
) -> Mapping[Inside, Connect]:
    """Return where ports of a sandbox's loopback lead."""

    async def to_gateway() -> Ends:
        address = gateway.address()
        if address is None:
            raise ConnectionRefusedError("no agent was started yet")
        return await asyncio.open_connection(*address)

    ways: dict[Inside, Connect] = {}
    if gateway.is_tunneled:
        ways[LOOPBACK, GATEWAY_PORT] = to_gateway
    if network == ISOLATED:
        ways[LOOPBACK, PROXY_PORT] = egress.connect
        ways |= forwards.ways()
    return ways


def allowed_forwards(places: Collection[Place], allow: Iterable[str], egress: Egress) -> Forwards:
    """Return a sandbox's places: those that its test allows lead there, past egress's checks."""
    forwards, allowed = Forwards(places), set(allow)
    for name, port in places:
        if f"{name}:{port}" in allowed:
            forwards.lead(name, port, partial(egress.reach, name, port))
    return forwards


def network_facts(
    network: str, allow: Iterable[str], unheard: Mapping[Inside, str]
) -> dict[str, str]:
    """Return what a report says of what a sandbox can reach.

    Args:
        network: Its network.
        allow: Where it may connect to.
        unheard: Where nothing listens in it for places that it knows by name, and why.
    """
    if network not in (ISOLATED, NONE):
        return {}
    facts = {"network": f"{network}, checked from inside"}
    if network == ISOLATED:
        facts["may connect to"] = ", ".join(["its LLM", *sorted(allow)])
    if unheard:
        lost = sorted({f"port {port} ({why})" for (_, port), why in unheard.items()})
        facts["reaches by its proxy only"] = ", ".join(lost)
    return facts
