"""The docker SDK's client, as it has to be for an endpoint."""

from __future__ import annotations

from typing import Any

import docker
from requests.adapters import BaseAdapter

from pytest_agent_sandbox.containers.endpoints import Endpoint
from pytest_agent_sandbox.containers.ssh import SSHAdapter

# The prefix at which the SDK mounts what does not go over TCP.
_MOUNTED = "http+docker://"


class Client(docker.DockerClient):
    """The SDK's client of the engine that answers at an endpoint.

    Args:
        endpoint: Where to connect to.

    Raises:
        DockerException, requests.RequestException, OSError, ValueError: Nobody answers there.
        EngineUnavailable: The address can be none.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.api = _APIClient(endpoint)


class _APIClient(docker.APIClient):
    """The SDK's connections, but for proxies, certificates and ssh: it has ideas of its own there.

    It sends requests to an engine on loopback to a proxy too, and trusts REQUESTS_CA_BUNDLE where
    that is set, instead of the engine's own authority.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._proxy = endpoint.proxy
        self._by_ssh = SSHAdapter(endpoint.address, endpoint.patience) if endpoint.is_ssh else None
        super().__init__(
            # For ssh, that of a socket that is never opened.
            base_url="unix:///ssh" if endpoint.is_ssh else endpoint.address,
            tls=endpoint.tls or False,
            version="auto",  # the engine's own API version
            timeout=endpoint.patience,
        )

    def mount(self, prefix: str | bytes, adapter: BaseAdapter) -> None:
        """Have requests go through an adapter; those to an engine behind ssh through ours."""
        if self._by_ssh is not None and prefix == _MOUNTED:
            adapter = self._by_ssh
        super().mount(prefix, adapter)

    def merge_environment_settings(self, *arguments: Any, **more: Any) -> Any:
        """Return the settings of a request, without what requests finds by itself."""
        settings = super().merge_environment_settings(*arguments, **more)
        url = None if self._proxy is None else self._proxy.url
        proxies = {} if url is None else {"http": url, "https": url}
        return {**settings, "proxies": proxies, "verify": self.verify}
