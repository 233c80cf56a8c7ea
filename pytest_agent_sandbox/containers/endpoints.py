"""The addresses at which a container engine may listen, in the order in which to try them."""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from docker.tls import TLSConfig

from pytest_agent_sandbox.containers.certificates import tls_from_environment, why_no_tls
from pytest_agent_sandbox.containers.contexts import chosen_context
from pytest_agent_sandbox.containers.proxies import Proxy, proxy_before
from pytest_agent_sandbox.containers.ssh import CONNECT_TIMEOUT, SSHError

# Seconds an address gets to answer before the next one is tried; behind ssh it takes longer.
_PATIENCE = 3
_PATIENCE_BY_SSH = CONNECT_TIMEOUT + 5
_TCP = ("tcp", "http", "https")
_FROM_HOST = "from DOCKER_HOST"


@dataclass(frozen=True)
class Endpoint:
    """An address at which an engine may answer.

    Attributes:
        address: Such as ``unix:///var/run/docker.sock`` or ``tcp://127.0.0.1:2375``.
        origin: Who says so, in words for an error message.
        tls: The SDK's TLS configuration; None for a plain connection.
    """

    address: str
    origin: str
    tls: Any = None

    def as_json(self) -> dict[str, Any]:
        """Return what `of_json` makes it of, in another process: of files, no more than names."""
        tls = None if self.tls is None else vars(self.tls)
        return {"address": self.address, "origin": self.origin, "tls": tls}

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> Self:
        """Return the one that `as_json` was of."""
        tls = found["tls"]
        if tls is not None:
            cert = None if tls["cert"] is None else tuple(tls["cert"])
            tls = TLSConfig(client_cert=cert, ca_cert=tls["ca_cert"], verify=tls["verify"])
        return cls(found["address"], found["origin"], tls)

    @property
    def is_remote(self) -> bool:
        """Whether the engine is, by its address, on another machine."""
        parts = urlsplit(self.address)
        if parts.scheme in _TCP:
            return parts.hostname not in ("localhost", "127.0.0.1", "::1")
        return parts.scheme == "ssh"

    @property
    def is_ssh(self) -> bool:
        """Whether it is reached by ssh."""
        return self.address.startswith("ssh://")

    @property
    def words(self) -> str:
        """Who names it and how it is reached, in words."""
        if self.is_ssh:
            return f"{self.origin}, by ssh"
        if urlsplit(self.address).scheme not in _TCP:
            return self.origin
        if self.tls is None:
            return f"{self.origin}, by TCP without TLS"
        return f"{self.origin}, by TLS{'' if self.tls.verify else ' that trusts anybody'}"

    @property
    def patience(self) -> int:
        """Seconds it gets to answer the first time."""
        return _PATIENCE_BY_SSH if self.is_ssh else _PATIENCE

    @property
    def proxy(self) -> Proxy | None:
        """The proxy that requests to the engine go to; None where they go there themselves."""
        return proxy_before(self.address, is_tls=self.tls is not None)

    def explain(self, error: BaseException, timeout: float) -> str:
        """Say in a few words why nobody answered, and what proxy was asked.

        Args:
            error: What the SDK raised.
            timeout: The time limit of the attempt, in seconds.
        """
        reason, proxy = why_unreachable(error, timeout), self.proxy
        if proxy is None:
            return reason
        host = urlsplit(self.address).hostname
        return f"{reason}; it was asked through the proxy {proxy}, NO_PROXY={host} leads past it"

    def knock(self) -> None:
        """Raise OSError if this is a Unix socket that nobody serves.

        The SDK would find that out too, but leaves its own socket open then.
        """
        path = self.address.removeprefix("unix://")
        if path in ("", self.address) or sys.platform == "win32":
            return
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(self.patience)
            probe.connect(path)


def find_endpoints(host: str | None = None) -> list[Endpoint]:
    """List the addresses to try.

    What somebody chose is the only candidate: an engine that answers elsewhere would be a
    surprise. Only where nobody chose are the usual sockets tried, one after the other.

    Args:
        host: The address to use; None asks DOCKER_HOST, then the docker context.

    Raises:
        EngineUnavailable: The chosen docker context cannot be read, or a certificate is missing.
    """
    for address, origin in ((host, "as asked for"), (os.environ.get("DOCKER_HOST"), _FROM_HOST)):
        if address:
            is_tcp = urlsplit(address).scheme in _TCP
            tls = tls_from_environment(os.environ) if is_tcp else None
            return [Endpoint(address, origin, tls)]
    context = chosen_context()
    if context is not None:
        return [Endpoint(context.host, f"docker context {context.name!r}", context.tls)]
    return [Endpoint(address, "a usual address") for address in _usual_addresses()]


def _usual_addresses() -> Iterator[str]:
    if sys.platform == "win32":
        yield "npipe:////./pipe/docker_engine"
        yield "npipe:////./pipe/dockerDesktopLinuxEngine"
        return
    home = Path.home()
    yield "unix:///var/run/docker.sock"
    for below_home in (
        ".docker/run/docker.sock",  # Docker Desktop
        ".docker/desktop/docker.sock",  # Docker Desktop for Linux
        ".colima/default/docker.sock",
        ".rd/docker.sock",  # Rancher Desktop
    ):
        yield f"unix://{(home / below_home).as_posix()}"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        yield f"unix://{runtime}/docker.sock"  # rootless Docker
        yield f"unix://{runtime}/podman/podman.sock"
    yield "unix:///run/podman/podman.sock"


def why_unreachable(error: BaseException, timeout: float) -> str:
    """Say in a few words why nobody answered.

    The SDK and the libraries below it wrap the reason several times; this finds the reason.

    Args:
        error: What the SDK raised.
        timeout: The time limit of the attempt, in seconds.
    """
    for cause in _causes(error):
        if known := _known_reason(cause, timeout):
            return known
    text = " ".join(str(error).split())
    if "HTTP request to an HTTPS server" in text:
        return (
            "it wants TLS: set DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH to the folder with "
            "ca.pem, cert.pem and key.pem"
        )
    return text.removeprefix("Error while fetching server API version: ")[:300]


def _known_reason(cause: BaseException, timeout: float) -> str | None:
    told: str | None = None
    match cause:
        case SSHError():
            told = str(cause)
        case ssl.SSLError():
            told = why_no_tls(cause)
        case FileNotFoundError():
            told = "there is no such socket"
        case PermissionError():
            told = "permission denied (is your user allowed to use the engine?)"
        case ConnectionRefusedError():
            told = "connection refused"
        case TimeoutError():
            told = f"no answer within {timeout:g} s"
    return told


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and, depth first, everything it was raised from or carries as an argument."""
    seen: set[int] = set()
    pending: list[object] = [error]
    while pending:
        item = pending.pop()
        if not isinstance(item, BaseException) or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        pending += [*item.args, item.__cause__, item.__context__, getattr(item, "reason", None)]
