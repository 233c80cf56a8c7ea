"""The container engine: found, asked what it is, and closed."""

from __future__ import annotations

import platform
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Self

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, NotFound

from pytest_agent_sandbox.containers.clients import Client
from pytest_agent_sandbox.containers.endpoints import Endpoint, find_endpoints
from pytest_agent_sandbox.containers.proxies import container_proxies
from pytest_agent_sandbox.containers.surroundings import is_in_container, own_container
from pytest_agent_sandbox.errors import EngineUnavailable, SandboxError, SettingsError
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.host.host_route import (
    HostRoute,
    has_gateway_here,
    route_by_address,
    route_by_gateway,
)
from pytest_agent_sandbox.host.ownership import Owner

#: Seconds any single engine call may take: a hung engine is an error, not a hang.
CALL_TIMEOUT = 60

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_VIRTUAL_MACHINES = ("docker desktop", "docker-desktop", "colima", "lima-", "orbstack", "rancher")


class ContainerEngine(Closing):
    """A connection to a container engine that speaks Docker's API (Docker, Podman).

    Make one with `ContainerEngine.connect`. Safe to use from several threads. One serves any number
    of containers; close it after the last of them.

    Args:
        client: The docker SDK's client, connected.
        endpoint: Where it is connected to.

    Attributes:
        client: The docker SDK's client, for what this class does not wrap.
        endpoint: The engine's address, such as ``unix:///var/run/docker.sock``.
        description: Name and version for people, such as ``Docker 20.10.24``.
        platform: What its containers run on, such as ``linux/amd64``.
        is_remote: Whether the engine is on another machine, by its address.
        way: The address with all that leads there: who names it, and the certificates.
    """

    def __init__(self, client: docker.DockerClient, endpoint: Endpoint) -> None:
        self.client = client
        self.way = endpoint
        self.endpoint = endpoint.address
        self.is_remote = endpoint.is_remote
        with self.calling("tell its version"):
            version = client.version()
        self.description = _describe(version)
        architecture = str(version.get("Arch", "unknown"))
        architecture = _ARCHITECTURES.get(architecture, architecture)
        self.platform = f"{version.get('Os', 'linux')}/{architecture}"
        self._owner: Owner | None = None
        self._is_closed = False
        self._owner_lock = threading.Lock()

    @classmethod
    def connect(
        cls, host: str | Endpoint | None = None, *, call_timeout: int = CALL_TIMEOUT
    ) -> Self:
        """Connect to the engine that the user's docker command line would use, or to a usual one.

        The address comes from ``host``, else DOCKER_HOST, else the docker context, and what was
        chosen there is never replaced by another engine. Where nothing was chosen, the usual
        sockets of Docker, Docker Desktop, Colima, Rancher Desktop and Podman are tried.

        Args:
            host: The engine's address, or a whole `way`; None to find it.
            call_timeout: Seconds a single call to the engine may take.

        Raises:
            EngineUnavailable: No engine answers; the message lists every address and its reason.
        """
        tried: list[str] = []
        for endpoint in [host] if isinstance(host, Endpoint) else find_endpoints(host):
            try:
                endpoint.knock()
                client = Client(endpoint)
            except (DockerException, requests.RequestException, OSError, ValueError) as error:
                reason = endpoint.explain(error, endpoint.patience)
                tried.append(f"  {endpoint.address} ({endpoint.origin}): {reason}")
                continue
            client.api.timeout = call_timeout
            try:
                return cls(client, endpoint)
            except BaseException:
                client.close()
                raise
        addresses = "\n".join(tried)
        raise EngineUnavailable(
            f"No container engine answers. Tried:\n{addresses}\n"
            "Start Docker (or Docker Desktop, Colima, Podman), or set DOCKER_HOST to the engine's "
            "address; `agent-sandbox doctor` helps to find out what is wrong."
        )

    @contextmanager
    def calling(self, action: str) -> Iterator[None]:
        """Raise this package's errors for the SDK's: to be put around every use of it.

        Catch `docker.errors.NotFound` and the like inside of it, where they are expected.

        Args:
            action: What is asked of the engine, to follow "could not": ``"pull the image x"``.

        Raises:
            EngineUnavailable: The engine did not answer, or not in time.
            SandboxError: It refused; the message holds the engine's own words.
        """
        try:
            yield
        except APIError as error:
            raise SandboxError(f"The engine could not {action}: {explanation(error)}") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            reason = self.way.explain(error, self.client.api.timeout)
            raise EngineUnavailable(
                f"The container engine at {self.endpoint} no longer answers; "
                f"it was asked to {action}: {reason}"
            ) from error
        except DockerException as error:
            raise SandboxError(f"The engine could not {action}: {error}") from error

    @cached_property
    def is_virtual_machine(self) -> bool:
        """Whether a local engine runs in a virtual machine, as Docker Desktop and Colima do.

        Such engines forward ``host.docker.internal`` to this machine's loopback address.
        """
        if self.is_remote:
            return False
        if sys.platform != "linux":
            return True
        names = f"{self._info.get('OperatingSystem', '')} {self._info.get('Name', '')}".lower()
        return any(name in names for name in _VIRTUAL_MACHINES)

    @cached_property
    def _info(self) -> dict[str, Any]:
        with self.calling("describe itself"):
            return dict(self.client.info())

    @cached_property
    def is_apart(self) -> bool:
        """Whether this process and its containers cannot reach each other over the network.

        So it is with an engine on another machine, with one whose socket is mounted into the
        container that this process is in, and with a rootless one: ports that it publishes on
        127.0.0.1 are reached, but the gateway of its containers' network is an address of
        theirs alone, so they have no way back. All goes through a `Tunnel` then.

        Raises:
            EngineUnavailable: The engine did not answer.
        """
        if self.is_remote:
            return True
        network_mode = self._own_network_mode()
        if network_mode not in (None, "host"):
            return True
        if self.is_virtual_machine:
            return network_mode == "host"
        # Asked before the bridge: a rootful engine beside it gives this machine the same address.
        if self._is_rootless:
            return True
        return network_mode is None and not self._is_bridge_here()

    def _is_bridge_here(self) -> bool:
        """Tell whether its default network is this machine's, by the engine's name and address."""
        is_namesake = self._info.get("Name") in (None, "", socket.gethostname())
        if not is_namesake and not self._may_share_network():
            return False  # its address is that of a forwarded port, or socket
        with self.calling("show the network 'bridge'"):
            try:
                network = self.client.api.inspect_network("bridge")
            except NotFound:
                return is_namesake
        return has_gateway_here(network)

    def _may_share_network(self) -> bool:
        """Tell whether an engine of another name may be this machine's nevertheless.

        Toolbox and distrobox are containers with a hostname of their own in their host's network.
        Elsewhere a bridge with an address of ours says nothing: each engine has the same one. The
        kernel tells the host's engine from one that is forwarded from another machine.
        """
        return is_in_container() and self._info.get("KernelVersion") == platform.release()

    @property
    def _is_rootless(self) -> bool:
        options = self._info.get("SecurityOptions") or []
        return any("name=rootless" in str(option).split(",") for option in options)

    def _own_network_mode(self) -> str | None:
        """Return the network mode of this process's container, if it is in one of the engine's."""
        container = own_container()
        if container is None:
            return None
        with self.calling("show the container that this process is in"):
            try:
                found = self.client.api.inspect_container(container)
            except NotFound:  # it is another engine's
                return None
        return str(found["HostConfig"].get("NetworkMode") or "default")

    @property
    def container_proxies(self) -> dict[str, str]:
        """The variables by which the user's docker command line tells containers of proxies."""
        return container_proxies(self.endpoint)

    def host_route(self, address: str | None = None, *, network: str | None = None) -> HostRoute:
        """Find the address on which a server here is reached by this engine's containers only.

        Args:
            address: Use this address of this machine, whatever the engine is.
            network: The network the containers are on; None for the engine's default one.

        Raises:
            SettingsError: The address cannot be found: it has to be given.
            EngineUnavailable: The engine did not answer.
        """
        if address is not None:
            return route_by_address(address)
        if network == "none":
            raise SettingsError(
                "Containers on the network 'none' cannot reach this machine at all."
            )
        if self.is_remote:
            raise SettingsError(
                f"The engine at {self.endpoint} is on another machine, so the address by which its "
                "containers reach this one cannot be known: give it by "
                "--sandbox-gateway-address=ADDRESS."
            )
        if self.is_virtual_machine:
            return HostRoute("127.0.0.1")
        if network == "host":
            return HostRoute("127.0.0.1", container_host_name="127.0.0.1")
        with self.calling(f"show the network {network or 'bridge'!r}"):
            return route_by_gateway(self.client.api.inspect_network(network or "bridge"))

    @property
    def owner(self) -> Owner:
        """Whom the containers belong to that are started by this connection: this process.

        Raises:
            SandboxError: Its lock cannot be made, or the connection is closed.
        """
        with self._owner_lock:
            if self._is_closed:
                raise SandboxError(f"The connection to the engine at {self.endpoint} is closed.")
            if self._owner is None:
                self._owner = Owner()
            return self._owner

    def close(self) -> None:
        """Close the connections to the engine; containers keep running."""
        self.client.close()
        with self._owner_lock:
            self._is_closed = True
            if self._owner is not None:
                self._owner.close()
                self._owner = None

    def __repr__(self) -> str:
        return f"<Engine {self.description} at {self.endpoint}>"


def explanation(error: APIError) -> str:
    """Return the engine's own words, without the SDK's decoration."""
    return str(error.explanation or error).strip()


def _describe(version: dict[str, Any]) -> str:
    components = [str(part.get("Name", "")) for part in version.get("Components") or []]
    name = "Podman" if any("podman" in part.lower() for part in components) else "Docker"
    # Distributions append their own suffix ("20.10.24+dfsg1"), which says nothing to a user.
    return f"{name} {str(version.get('Version', '?')).partition('+')[0]}"
