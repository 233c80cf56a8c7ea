"""Servers that tests share or start without containers, by the settings `url` and `engine`."""

from __future__ import annotations

import ipaddress
import os
import re
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

from pytest_agent_sandbox.client.answers import an_object
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import SandboxError, SettingsError
from pytest_agent_sandbox.host.host_route import HostRoute
from pytest_agent_sandbox.sandbox.gateway import HostGateway
from pytest_agent_sandbox.sandbox.network import LOOPBACK
from pytest_agent_sandbox.sandbox.served_workspace import ServedWorkspace
from pytest_agent_sandbox.settings.setting import flag
from pytest_agent_sandbox.settings.table import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_agent_sandbox.settings.table import SandboxSettings

#: The variable with the session key of the server that `url` names.
KEY_VARIABLE = "SANDBOX_API_KEY"

#: What tests would rely on in vain: it is refused.
_PROMISES = frozenset(
    {
        "allow",
        "extra_ports",
        "files",
        "gpu",
        "keep",
        "network",
        "runtime",
        "security",
        "user",
        "video",
        "volumes",
    }
)
#: What only makes containers what they are: it is not in effect.
_OF_CONTAINERS = (
    "cpus",
    "image",
    "isolation",
    "max_reuses",
    "memory",
    "pids",
    "platform",
    "pool_size",
    "pull",
)
_FOLDERS = "/tmp/agent-sandbox"  # noqa: S108 - on the server
_SLUG_LIMIT = 40
#: Seconds of silence that the header is worth.
_HEADER_TIMEOUT = 5.0


class RunningServer:
    """An agent server that is running already, and that all tests share; a context manager.

    Args:
        settings: The settings of the run: `url`, `gateway_address`, `working_dir`.
        environment: Has the server's key.

    Raises:
        SettingsError: The address is none, or a setting makes no sense with it.
    """

    def __init__(
        self, settings: SandboxSettings, environment: Mapping[str, str] = os.environ
    ) -> None:
        assert settings.url is not None
        self.url = _checked_url(settings.url)
        self._check(settings)
        if settings.engine != "docker":
            raise SettingsError(
                "--sandbox-url names a server that is running, and --sandbox-engine=process starts "
                "some: leave one of both out."
            )
        self._settings = settings
        key = environment.get(KEY_VARIABLE, "").strip()  # a file that it comes from ends in a line
        if not (key.isascii() and key.isprintable()) and key:
            raise SettingsError(
                f"The variable {KEY_VARIABLE} holds a key with characters that no HTTP header can "
                "have, such as a line break in it. Set it to the key alone."
            )
        self.api_key = SecretStr(key) if key else None
        self._closing = ExitStack()

    def _check(self, settings: SandboxSettings) -> None:
        # A server that is running has the environment that it has.
        promises = _PROMISES | {"forward_env"}
        check(settings, f"--sandbox-url={self.url}", promises=promises)

    def header(self) -> list[str]:
        """Lines for the top of the terminal."""
        try:
            with ServerConnection(self.url, self.api_key) as server:
                answer = server.request("GET", "/server_info", timeout=_HEADER_TIMEOUT)
                info = an_object(server.decoded(answer), "/server_info")
                version = f"agent server {info.get('version', '?')}"
        except SandboxError as error:
            version = str(error)
        return [
            f"on {self.url} ({version}), which they share: nothing is isolated",
            *not_in_effect(self._settings),
        ]

    def start_workspace(
        self,
        settings: SandboxSettings,
        *,
        test: str,
        log_path: Path | None = None,  # noqa: ARG002 - the server's log is elsewhere
        clean_log: Callable[[str], str] | None = None,  # noqa: ARG002
        on_secret: Callable[[str], object] | None = None,
    ) -> ServedWorkspace:
        """A folder of its own on the server.

        Args:
            settings: Those of the test.
            test: Whom it is for.
            log_path: Of no use here.
            clean_log: Of no use here.
            on_secret: Told the server's key.

        Raises:
            SettingsError: A setting of the test makes no sense here.
            SandboxStartFailed: The server does not answer.
        """
        self._check(settings)
        if self.api_key is not None and on_secret is not None:
            on_secret(self.api_key.get_secret_value())
        workspace = ServedWorkspace(
            self.url,
            self.api_key,
            folder_for(settings, test),
            gateway=self._gateway,
            place=f"the agent server at {self.url}",
        )
        try:
            workspace.wait_until_ready(settings.start_timeout)
            workspace.execute_command("true")  # makes the folder
        except BaseException:
            workspace.close()
            raise
        return workspace

    @cached_property
    def _gateway(self) -> HostGateway:
        return self._closing.enter_context(HostGateway(route=self._route))

    def _route(self) -> HostRoute:
        address = self._settings.gateway_address
        if address is None and not _is_loopback(self.url):
            raise SettingsError(
                f"The agents on {self.url} have no known way to the LLM gateway on this machine. "
                "Give the address of this machine at which that server reaches it: "
                "--sandbox-gateway-address=ADDRESS."
            )
        address = address or LOOPBACK
        return HostRoute(address, container_host_name=address)

    def close(self) -> None:
        """Close the gateway."""
        self._closing.close()

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check(settings: SandboxSettings, instead: str, *, promises: frozenset[str] = _PROMISES) -> None:
    """Refuses settings that promise what only a container can keep.

    Args:
        settings: Those of the run, or of a test.
        instead: The setting that there is no container by.
        promises: Names of settings that are refused.

    Raises:
        SettingsError: One does.
    """
    for setting in SETTINGS:
        value = getattr(settings, setting.name)
        is_asked = value != setting.default and (setting.name, value) != ("network", "open")
        if setting.name in promises and is_asked:
            raise SettingsError(
                f"{flag(setting)} = {value} needs a container of ours, which there is none with "
                f"{instead}. Leave one of both out."
            )


def not_in_effect(settings: SandboxSettings) -> list[str]:
    """A line that names the settings that mean nothing without a container, if there are any."""
    given = [
        flag(setting)
        for setting in SETTINGS
        if setting.name in _OF_CONTAINERS and getattr(settings, setting.name) != setting.default
    ]
    return [f"not in effect without containers: {', '.join(given)}"] if given else []


def folder_for(settings: SandboxSettings, test: str, folders: str = _FOLDERS) -> str:
    """A folder for a test, that no other test has.

    Raises:
        SettingsError: `working_dir` is no absolute path.
    """
    default = next(setting.default for setting in SETTINGS if setting.name == "working_dir")
    base = folders if settings.working_dir == default else settings.working_dir
    if not base.startswith("/"):
        raise SettingsError(
            f"working_dir = {base} must be an absolute path on the server, such as {folders}"
        )
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", test.rpartition("::")[2]).strip("-")[:_SLUG_LIMIT]
    return f"{base.rstrip('/')}/{slug or 'shared'}-{uuid.uuid4().hex[:8]}"


def _checked_url(url: str) -> str:
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


def _is_loopback(url: str) -> bool:
    name = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
