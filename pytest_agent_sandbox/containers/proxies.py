"""Proxies: those that containers are told of, and the one before the engine itself."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from docker.utils.config import load_general_config
from requests.utils import should_bypass_proxies
from urllib3.util import parse_url

from pytest_agent_sandbox.errors import EngineUnavailable

# What the docker command line tells containers, by the keys of its config.json.
_CONFIG_KEYS = {
    "httpProxy": "HTTP_PROXY",
    "httpsProxy": "HTTPS_PROXY",
    "ftpProxy": "FTP_PROXY",
    "allProxy": "ALL_PROXY",
    "noProxy": "NO_PROXY",
}


@dataclass(frozen=True)
class Proxy:
    """A proxy that requests to the engine go to.

    Attributes:
        url: Its address; it may hold credentials.
        variable: The environment variable that names it.
    """

    url: str
    variable: str

    def __str__(self) -> str:
        place = self.url.rpartition("@")[2].removeprefix("http://").removeprefix("https://")
        return f"{place.rstrip('/')} (from {self.variable})"


def container_proxies(engine: str) -> dict[str, str]:
    """Return the variables that the docker command line gives to each container.

    They are those of `proxies` in its config.json: of the engine's address, else of `default`.

    Args:
        engine: The engine's address.
    """
    proxies = load_general_config().get("proxies")
    found = proxies.get(engine, proxies.get("default")) if isinstance(proxies, dict) else None
    told: dict[str, str] = {}
    for key, name in _CONFIG_KEYS.items():
        value = found.get(key) if isinstance(found, dict) else None
        if value and isinstance(value, str):
            told |= {name: value, name.lower(): value}
    return told


def proxy_before(address: str, *, is_tls: bool) -> Proxy | None:
    """Return the proxy for requests to an engine, as the docker command line would choose it.

    It goes by Go's rules: `HTTPS_PROXY` is for TLS, `HTTP_PROXY` for the rest, loopback is never
    asked for by a proxy, nor what `NO_PROXY` names.

    Args:
        address: The engine's.
        is_tls: Whether the connection is one by TLS.

    Raises:
        EngineUnavailable: The proxy's URL cannot be read.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("tcp", "http", "https") or _is_loopback(parts.hostname or ""):
        return None
    scheme = "https" if is_tls or parts.scheme == "https" else "http"
    for name in (f"{scheme}_proxy".upper(), f"{scheme}_proxy"):
        if url := os.environ.get(name):
            break
    else:
        return None
    past = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    if should_bypass_proxies(f"{scheme}://{parts.netloc}", past):
        return None
    url = url if "://" in url else f"http://{url}"  # requests takes "host:port" for a scheme
    if not _is_readable(url):
        # A parser's own message may quote a part of the password.
        raise EngineUnavailable(
            f"The engine at {address} is asked through a proxy, but the proxy's URL in {name} "
            "cannot be read. It has to be like http://user:password@host:port, with what is "
            "neither letter nor digit in user and password percent-encoded (# as %23); "
            f"NO_PROXY={parts.hostname} leads past it."
        )
    return Proxy(url, name)


def _is_readable(url: str) -> bool:
    """Tell whether the parsers that requests goes by find the host where the user put it.

    A bare ``#``, ``/`` or ``?`` in a password ends the host's part, so that a piece of the password
    becomes the port, and the rest with its ``@`` a path.
    """
    try:
        parts = urlsplit(url)
        found = parse_url(url)
    except ValueError:
        return False
    return bool(found.host) and "@" not in f"{parts.path}{parts.query}{parts.fragment}"


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
