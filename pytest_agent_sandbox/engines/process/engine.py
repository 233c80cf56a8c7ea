"""Agent servers that tests start as processes of this machine: the setting `engine = process`."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property, partial
from http import HTTPStatus
from pathlib import Path

from pydantic import SecretStr

from pytest_agent_sandbox.client.commands import left_until
from pytest_agent_sandbox.engines.engine import EngineContext, SandboxEngine, SandboxRequest
from pytest_agent_sandbox.engines.process.server import ServerProcess, free_port
from pytest_agent_sandbox.errors import (
    SandboxDied,
    SandboxStartFailed,
    ServerError,
    SettingsError,
)
from pytest_agent_sandbox.host.host_route import HostRoute
from pytest_agent_sandbox.host.no_proxy import without_proxy
from pytest_agent_sandbox.sandbox.agent_server import SERVER_SETTINGS, forwarded, secret_environment
from pytest_agent_sandbox.sandbox.gateway import HostGateway
from pytest_agent_sandbox.sandbox.network import LOOPBACK
from pytest_agent_sandbox.sandbox.served_workspace import ServedWorkspace, folder_for

_SETTING = "--sandbox-engine=process"
_PACKAGE = "openhands-agent-server"
_ASK_VERSION = f"import importlib.metadata as m; print(m.version('{_PACKAGE}'))"
_ASK_TIMEOUT = 60.0
#: Starts of a server whose port somebody else has taken in the meantime.
_ATTEMPTS = 3
_REFUSALS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_PORT_TAKEN = ("address already in use", "only one usage of each socket address", "errno 98")
#: What of this process's environment a server gets: enough to find programs and certificates, and
#: nothing that could be a secret.
_PASSED = {
    "COMSPEC",
    "CURL_CA_BUNDLE",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "NODE_EXTRA_CA_CERTS",
    "PATH",
    "PATHEXT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "SYSTEMDRIVE",
    "SYSTEMROOT",
    "TZ",
    "WINDIR",
}


class ProcessEngine(SandboxEngine):
    """A server for each test, as a process of this machine; nothing is isolated."""

    supports = frozenset({"forward_env"})

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context)
        if os.name == "nt":
            raise SettingsError(
                f"{_SETTING} needs a system whose paths are POSIX's: on Windows use containers, or "
                "run the tests in WSL."
            )
        self._settings = context.settings
        self._closing = ExitStack()

    @property
    def python(self) -> str:
        """The interpreter that has the server's package."""
        return self._settings.python or sys.executable

    @cached_property
    def version(self) -> str:
        """The version of the agent server's package.

        Raises:
            SettingsError: The interpreter is none, or has no such package.
        """
        try:
            asked = subprocess.run(  # noqa: S603 - the interpreter that the user names
                [self.python, "-c", _ASK_VERSION],
                capture_output=True,
                text=True,
                timeout=_ASK_TIMEOUT,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            raise SettingsError(
                f"{_SETTING} starts {_PACKAGE} by {self.python}, which has no such package, or is "
                f"no Python. Give one that has, of Python 3.12 or later, with --sandbox-python: "
                f"pip install {_PACKAGE} openhands-tools"
            ) from None
        return asked.stdout.strip()

    def header(self) -> list[str]:
        """Return which interpreter and which server the tests run on."""
        try:
            version = f"agent server {self.version}"
        except SettingsError as error:
            version = str(error)
        return [
            f"on processes of this machine ({version}, {self.python}): nothing is isolated",
            *self.not_in_effect(),
        ]

    def start(self, request: SandboxRequest) -> ServedWorkspace:
        """Start a server of the test's own, with a folder of its own."""
        settings = request.settings
        variables = forwarded(settings.forward_env)
        place = f"the agent server {self.version}, a process of this machine,"
        with ExitStack() as undo:
            scratch = Path(tempfile.mkdtemp(prefix="agent-sandbox-"))
            undo.callback(shutil.rmtree, scratch, ignore_errors=True)
            for name in ("home", "server", "tmp"):
                (scratch / name).mkdir()
            key, secret = (SecretStr(secrets.token_urlsafe(32)) for _ in range(2))
            for value in (key, secret):
                request.tell_secret(value.get_secret_value())
            start = partial(
                ServerProcess,
                environment={
                    **_environment(scratch, os.environ),
                    **variables,
                    **without_proxy([variables], self._gateway.way.direct),
                    **secret_environment(key, secret),
                },
                folder=scratch / "server",
                mark=scratch.name,
                log_path=request.log_path or scratch / "server.log",
                clean_log=request.clean_log,
                scratch=[scratch],
            )
            for attempt in range(1, _ATTEMPTS + 1):
                port = free_port()
                process = start(self._command(port))
                closing = undo.enter_context(ExitStack())
                closing.callback(process.close)
                workspace = ServedWorkspace(
                    f"http://{LOOPBACK}:{port}",
                    key,
                    folder_for(settings, request.test, (scratch / "workspaces").as_posix()),
                    gateway=self._gateway,
                    place=place,
                    guard=process.check,
                    log=process.log_tail,
                )
                closing.callback(workspace.connection.close)
                try:
                    end = time.monotonic() + settings.start_timeout
                    workspace.wait_until_ready(settings.start_timeout)
                    # It makes the folder, and needs the key.
                    workspace.execute_command("true", timeout=left_until(end))
                except SandboxDied as error:
                    closing.close()
                    if attempt < _ATTEMPTS and _is_taken(error.log):
                        continue
                    raise SandboxStartFailed(
                        f"The agent server's process ended with exit code {error.exit_code} "
                        "before it answered.",
                        log=error.log,
                    ) from None
                except ServerError as error:
                    # Another server has answered, which has the port now, and another key.
                    if attempt == _ATTEMPTS or error.status not in _REFUSALS:
                        raise
                    closing.close()
                    continue
                break
            workspace.when_closed(undo.pop_all().close)
            return workspace

    def _command(self, port: int) -> list[str]:
        server = ["-m", "openhands.agent_server", "--host", LOOPBACK, "--port", str(port)]
        return [self.python, *server]

    @cached_property
    def _gateway(self) -> HostGateway:
        address = self._settings.gateway_address or LOOPBACK
        return self._closing.enter_context(
            HostGateway(lambda: HostRoute(address, container_host_name=address))
        )

    def close(self) -> None:
        """Close the gateway; the servers went with their tests."""
        self._closing.close()


def _environment(scratch: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a server gets of this process's environment, with folders of its own."""
    passed = {name: value for name, value in environment.items() if name.upper() in _PASSED}
    temporary = str(scratch / "tmp")
    home = str(scratch / "home")
    return {
        **passed,
        **SERVER_SETTINGS,
        "OH_ENABLE_VSCODE": "false",
        "OH_ENABLE_VNC": "false",
        "HOME": home,
        "USERPROFILE": home,
        "TMPDIR": temporary,
        "TEMP": temporary,
        "TMP": temporary,
        "TMUX_TMPDIR": temporary,
    }


def _is_taken(log: str) -> bool:
    return any(words in log.lower() for words in _PORT_TAKEN)
