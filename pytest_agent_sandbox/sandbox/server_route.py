"""How agents on a server that was started elsewhere reach the LLM gateway on this machine."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.host.host_route import HostRoute
from pytest_agent_sandbox.sandbox.network import LOOPBACK


def route_from_server(url: str, address: str | None, give: str) -> HostRoute:
    """Return the route from a server to this machine.

    Args:
        url: The server's address.
        address: The address of this machine at which the server reaches it, if it was given.
        give: How to give it, for the message.

    Raises:
        SettingsError: It was not given, and the server is on another machine.
    """
    if address is None and not _is_loopback(url):
        raise SettingsError(
            f"The agents on {url} have no known way to the LLM gateway on this machine. Give the "
            f"address of this machine at which that server reaches it: {give}."
        )
    address = address or LOOPBACK
    return HostRoute(address, container_host_name=address)


def _is_loopback(url: str) -> bool:
    name = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
