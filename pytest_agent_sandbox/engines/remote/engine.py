"""An agent server that is running already: the setting `url`."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from urllib.parse import urlsplit

from pydantic import SecretStr

from pytest_agent_sandbox.client.answers import an_object
from pytest_agent_sandbox.client.commands import left_until
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.engines.engine import EngineContext, SandboxEngine, SandboxRequest
from pytest_agent_sandbox.errors import (
    CommandTimeout,
    SandboxError,
    SandboxStartFailed,
    ServerError,
    SettingsError,
)
from pytest_agent_sandbox.host.host_route import HostRoute
from pytest_agent_sandbox.sandbox.gateway import HostGateway
from pytest_agent_sandbox.sandbox.served_workspace import ServedWorkspace, folder_for
from pytest_agent_sandbox.sandbox.server_route import route_from_server
from pytest_agent_sandbox.settings.table import SandboxSettings

#: The variable with the session key of the server that `url` names.
KEY_VARIABLE = "SANDBOX_API_KEY"

#: Seconds of silence that the header is worth.
_HEADER_TIMEOUT = 5.0
#: Seconds in which a server that is just being started may begin to listen.
_REFUSED_TIMEOUT = 1.5
#: Seconds for one attempt, and between two.
_CONNECT_TIMEOUT, _RETRY_PAUSE = 1.0, 0.1


class RemoteEngine(SandboxEngine):
    """An agent server that is running already, and that all tests share."""

    def __init__(self, context: EngineContext, environment: Mapping[str, str] = os.environ) -> None:
        super().__init__(context)
        self.url = _url(context.settings)
        self._settings = context.settings
        key = environment.get(KEY_VARIABLE, "").strip()  # a file that it comes from ends in a line
        if not (key.isascii() and key.isprintable()) and key:
            raise SettingsError(
                f"The variable {KEY_VARIABLE} holds a key with characters that no HTTP header can "
                "have, such as a line break in it. Set it to the key alone."
            )
        self.api_key = SecretStr(key) if key else None
        self._closing = ExitStack()
        self._was_refused = False

    @classmethod
    def chosen_by(cls, settings: SandboxSettings) -> str:
        """Return the option that has chosen it, for messages."""
        return f"--sandbox-url={_url(settings)}"

    @classmethod
    def check(cls, settings: SandboxSettings) -> None:
        """Refuse an address that is none, and what a server that is running cannot keep."""
        _url(settings)
        super().check(settings)

    def header(self) -> list[str]:
        """Return which server the tests share."""
        try:
            self._check_that_it_listens()
            with ServerConnection(self.url, self.api_key) as server:
                patience = min(self._settings.start_timeout, _HEADER_TIMEOUT)
                answer = server.request("GET", "/server_info", timeout=patience)
                info = an_object(server.decoded(answer), "/server_info")
                version = f"agent server {info.get('version', '?')}"
        except SandboxError as error:
            version = str(error)
        return [
            f"on {self.url} ({version}), which they share: nothing is isolated",
            *self.not_in_effect(),
        ]

    def start(self, request: SandboxRequest) -> ServedWorkspace:
        """Make a folder of the test's own on the server."""
        if self.api_key is not None:
            request.tell_secret(self.api_key.get_secret_value())
        self._check_that_it_listens()
        workspace = ServedWorkspace(
            self.url,
            self.api_key,
            folder_for(request.settings, request.test),
            gateway=self._gateway,
            place=f"the agent server at {self.url}",
        )
        timeout = request.settings.start_timeout
        end = time.monotonic() + timeout
        try:
            workspace.wait_until_ready(timeout)
            workspace.execute_command("true", timeout=left_until(end))  # makes the folder
        except (SandboxStartFailed, ServerError, CommandTimeout):
            workspace.connection.close()  # nothing to clean up, or nobody who answers to that
            raise
        except BaseException:
            workspace.close()
            raise
        return workspace

    def _check_that_it_listens(self) -> None:
        """Raise within two seconds where nothing listens at the address; once, at once.

        Raises:
            SandboxStartFailed: Nothing does. A server that is only slow to answer listens.
        """
        parts = urlsplit(self.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        end = time.monotonic() + (0 if self._was_refused else _REFUSED_TIMEOUT)
        while True:
            try:
                with socket.create_connection((parts.hostname, port), _CONNECT_TIMEOUT):
                    self._was_refused = False
                    return
            except TimeoutError:  # somebody who answers later, or nobody: the start's time decides
                return
            except OSError as error:
                problem = error.strerror or str(error)
            if time.monotonic() >= end:
                self._was_refused = True
                raise SandboxStartFailed(
                    f"No agent server listens at {self.url}: {problem}. Start it there, or correct "
                    "--sandbox-url; without it, tests start sandboxes of their own."
                )
            time.sleep(_RETRY_PAUSE)

    @cached_property
    def _gateway(self) -> HostGateway:
        return self._closing.enter_context(HostGateway(self._route))

    def _route(self) -> HostRoute:
        address = self._settings.gateway_address
        return route_from_server(self.url, address, "--sandbox-gateway-address=ADDRESS")

    def close(self) -> None:
        """Close the gateway."""
        self._closing.close()


def _url(settings: SandboxSettings) -> str:
    url = settings.url or ""
    if "@" in url:
        raise SettingsError(
            f"--sandbox-url holds a password. Set the server's key in {KEY_VARIABLE} instead."
        )
    try:
        parts = urlsplit(url)
        is_server = parts.port != 0 and bool(parts.hostname)
    except ValueError:  # a port that is none, half an IPv6 address
        is_server = False
    if not is_server or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise SettingsError(
            f"--sandbox-url = {url} is no address such as http://127.0.0.1:8000 or "
            "https://sandbox.example"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")  # the scheme in lower case
