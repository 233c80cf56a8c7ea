"""The LLM gateway of a Docker engine's containers: where they reach this machine."""

from __future__ import annotations

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.host.host_route import HostRoute
from pytest_agent_sandbox.sandbox.gateway import HostGateway
from pytest_agent_sandbox.sandbox.network import (
    GATEWAY_PORT,
    ISOLATED,
    LOOPBACK,
    NONE,
    OPEN,
    engine_network,
)


def gateway_for(
    engine: ContainerEngine, *, network: str = OPEN, address: str | None = None
) -> HostGateway:
    """Make the gateway for the containers of an engine.

    Args:
        engine: The engine.
        network: The network that the containers are on, as the setting `network` names it.
        address: Address of this machine to listen on, where the automatic choice does not fit.
    """

    def route() -> HostRoute:
        if network == NONE:
            raise SettingsError(
                "network = none: an agent in such a sandbox has no way to its LLM. With "
                "network = isolated that is all it can reach."
            )
        if network == ISOLATED or (address is None and engine.is_apart):
            return HostRoute(LOOPBACK, LOOPBACK, container_port=GATEWAY_PORT)
        return engine.host_route(address, network=engine_network(network))

    return HostGateway(route)
