"""Workspaces on an agent server that runs without a container of ours."""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pytest_agent_sandbox.errors import (
    CommandTimeout,
    SandboxError,
    SettingsError,
)
from pytest_agent_sandbox.host.slug import slug
from pytest_agent_sandbox.sandbox.workspace import Workspace
from pytest_agent_sandbox.settings.table import SETTINGS, SandboxSettings

if TYPE_CHECKING:
    from pydantic import SecretStr

    from pytest_agent_sandbox.client.transport import Guard
    from pytest_agent_sandbox.sandbox.gateway import HostGateway

_CLEAN_UP_TIMEOUT = 10.0
_FOLDERS = "/tmp/agent-sandbox"  # noqa: S108 - on the server
_SLUG_LIMIT = 40


class ServedWorkspace(Workspace):
    """A folder of its own on an agent server that is not in a container of this machine's engine.

    The folder is made when it is first used, and removed when the workspace is closed. Nothing
    keeps an agent in it from what else the server's user may read and write.

    Args:
        host: Address of the server.
        api_key: Its session key; None for a server without authentication.
        working_dir: The folder.
        gateway: Where the agents' LLM calls go.
        place: What runs the server, in words.
        guard: Raises the reason once waiting for the server has become pointless.
        log: Returns the last lines of the server's log, where it is to be had.
    """

    def __init__(
        self,
        host: str,
        api_key: SecretStr | None,
        working_dir: str,
        *,
        gateway: HostGateway,
        place: str,
        guard: Guard | None = None,
        log: Callable[[int], str] | None = None,
    ) -> None:
        super().__init__(host, api_key, working_dir, guard=guard)
        self._log = log
        self.gateway = gateway
        self._place = place
        self._on_close: Callable[[], object] | None = None

    @property
    def identity(self) -> Mapping[str, str]:
        """What is different in this workspace from any other, and what to call it."""
        return {self.working_dir: "folder", self.name: "folder"}

    def log_tail(self, lines: int = 50) -> str:
        """Return the last lines of the server's log; none where it is out of reach."""
        return "" if self._log is None else self._log(lines)

    def facts(self) -> Mapping[str, Any]:
        """Return what a report says of it."""
        return {
            "server": self.server_info().get("version"),
            "runs as": self._place,
            "folder": self.working_dir,
            "isolation": "none: no container",
        }

    def when_closed(self, then: Callable[[], object]) -> None:
        """Have something done once it is closed, such as to end its server."""
        self._on_close = then

    def close(self, *, wait: bool = True) -> None:  # noqa: ARG002 - as of other workspaces
        """Remove the folder. May be called more than once."""
        if self.is_closed:
            return
        try:
            self._begin_close()
            with suppress(SandboxError, CommandTimeout):
                remove = f"rm -rf {shlex.quote(self.working_dir)}"
                self.on_command = None  # that is not the test's
                if self.alive():  # a command would wait longer for a server that is stuck
                    self.execute_command(remove, cwd="/", timeout=_CLEAN_UP_TIMEOUT)
        finally:
            super().close()
            if self._on_close is not None:
                self._on_close()


def folder_for(settings: SandboxSettings, test: str, folders: str = _FOLDERS) -> str:
    """Return a folder for a test, that no other test has.

    Raises:
        SettingsError: `working_dir` is no absolute path.
    """
    default = next(setting.default for setting in SETTINGS if setting.name == "working_dir")
    base = folders if settings.working_dir == default else settings.working_dir
    if not base.startswith("/"):
        raise SettingsError(
            f"working_dir = {base} must be an absolute path on the server, such as {folders}"
        )
    shown = slug(test.rpartition("::")[2], _SLUG_LIMIT)
    return f"{base.rstrip('/')}/{shown or 'shared'}-{uuid.uuid4().hex[:8]}"
