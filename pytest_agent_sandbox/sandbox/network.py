"""What a sandbox can reach: the setting `network`, and what follows from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.host.egress import Egress
from pytest_agent_sandbox.host.host_route import CONTAINER_HOST_NAME
from pytest_agent_sandbox.host.multiplexer import Connect, Ends

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


def network_environment(network: str) -> dict[str, str]:
    """Return what programs in a sandbox are told of its network."""
    if network != ISOLATED:
        return {}
    # All of them: those of the image, or of the engine's command line, lead nowhere from there.
    names = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY")
    told = dict.fromkeys(names, f"http://{LOOPBACK}:{PROXY_PORT}") | {"NO_PROXY": ",".join(_HERE)}
    return told | {name.lower(): value for name, value in told.items()}


def ways_out(network: str, gateway: WayToGateway, egress: Egress) -> Mapping[int, Connect]:
    """Return where ports of a sandbox's loopback lead."""

    async def to_gateway() -> Ends:
        address = gateway.address()
        if address is None:
            raise ConnectionRefusedError("no agent was started yet")
        return await asyncio.open_connection(*address)

    ways: dict[int, Connect] = {GATEWAY_PORT: to_gateway} if gateway.is_tunneled else {}
    return ways | {PROXY_PORT: egress.connect} if network == ISOLATED else ways
