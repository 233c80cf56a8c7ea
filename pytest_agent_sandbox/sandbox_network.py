"""What a sandbox can reach: the setting `network`, and what follows from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from pytest_agent_sandbox.containers.egress import Egress
from pytest_agent_sandbox.containers.multiplexer import Connect, Ends
from pytest_agent_sandbox.errors import SettingsError

#: Whatever the engine's default network lets it reach.
OPEN = "open"
#: The LLM gateway, and what is allowed by name.
ISOLATED = "isolated"
#: Nothing, and so no LLM either. Any other name is that of a network of the engine.
NONE = "none"

#: The address of the LLM gateway, and of the proxy, as seen in an isolated sandbox.
LOOPBACK = "127.0.0.1"
GATEWAY_PORT, PROXY_PORT = 7411, 7412

#: Tells where the LLM gateway listens, if it does already.
GatewayAddress = Callable[[], tuple[str, int] | None]


def engine_network(network: str) -> str | None:
    """The engine's network that a container joins; None for its default one."""
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
    """What programs in a sandbox are told of its network."""
    if network != ISOLATED:
        return {}
    proxy, direct = f"http://{LOOPBACK}:{PROXY_PORT}", f"localhost,{LOOPBACK},::1"
    told = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": direct}
    return told | {name.lower(): value for name, value in told.items()}


def ways_out(network: str, gateway: GatewayAddress, egress: Egress) -> Mapping[int, Connect]:
    """Where the ports of an isolated sandbox's loopback lead."""
    if network != ISOLATED:
        return {}

    async def to_gateway() -> Ends:
        address = gateway()
        if address is None:
            raise ConnectionRefusedError("no agent was started yet")
        return await asyncio.open_connection(*address)

    return {GATEWAY_PORT: to_gateway, PROXY_PORT: egress.connect}
