"""The route by which a container reaches a server of this process, and nobody else does."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.host.addresses import is_own_address

#: The name by which containers know the machine that runs the tests.
CONTAINER_HOST_NAME = "host.docker.internal"


@dataclass(frozen=True)
class HostRoute:
    """The way from a container to a server on the machine that runs the tests.

    Attributes:
        bind_address: The address the server listens on.
        container_host_name: The host name or address under which a container reaches it.
        extra_hosts: What to give the container as ``extra_hosts`` so that it knows the name.
        container_port: The port on which a container reaches it, where that is not its own.
    """

    bind_address: str
    container_host_name: str = CONTAINER_HOST_NAME
    extra_hosts: Mapping[str, str] = field(default_factory=dict)
    container_port: int | None = None


def host_in_url(host: str) -> str:
    """Return a host for an address with a port: an IPv6 number in brackets."""
    return f"[{host}]" if ":" in host else host


def route_by_address(address: str) -> HostRoute:
    """Return the route over an address that the user gave.

    An address that says nothing to a container (loopback, all interfaces) is reached by the
    engine's own name for the host.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return HostRoute(address, container_host_name=address)
    if parsed.is_loopback or parsed.is_unspecified:
        return HostRoute(address, extra_hosts={CONTAINER_HOST_NAME: "host-gateway"})
    return HostRoute(address, container_host_name=address)


def route_by_gateway(network: Mapping[str, Any]) -> HostRoute:
    """Return the route over the host's own end of a bridge network.

    Args:
        network: The network, as the engine's inspection shows it.

    Raises:
        SettingsError: The network has no end on this machine.
    """
    gateway = _gateway(network)
    if gateway is None or not is_own_address(ipaddress.ip_address(gateway)):
        raise SettingsError(
            f"Containers on the network {network['Name']!r} have no known way to this machine: its "
            f"gateway ({gateway or 'none'}) is not an address of this machine. The engine may be "
            "rootless, or in a virtual machine, or these tests run in a container themselves. "
            "Give the address of this machine that its containers can reach (host address setting)."
        )
    # The address rather than the engine's own "host-gateway": that one is always the default
    # bridge, which a container on an internal network cannot reach.
    return HostRoute(gateway, extra_hosts={CONTAINER_HOST_NAME: gateway})


def has_gateway_here(network: Mapping[str, Any]) -> bool:
    """Tell whether a network's gateway is an address of this machine: see `route_by_gateway`."""
    gateway = _gateway(network)
    return gateway is not None and is_own_address(ipaddress.ip_address(gateway))


def _gateway(network: Mapping[str, Any]) -> str | None:
    for config in (network.get("IPAM") or {}).get("Config") or []:
        if config.get("Gateway"):
            subnet_gateway = str(config["Gateway"]).partition("/")[0]
        elif config.get("Subnet"):
            # Engines leave the default bridge's gateway out of the answer when nobody set one;
            # it is then the first address of the subnet.
            subnet_gateway = str(ipaddress.ip_network(config["Subnet"], strict=False)[1])
        else:
            continue
        if ipaddress.ip_address(subnet_gateway).version == 4:  # noqa: PLR2004
            return subnet_gateway
    return None
