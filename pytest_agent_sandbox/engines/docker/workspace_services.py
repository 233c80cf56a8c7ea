"""What a workspace offers to people: its server, VS Code and the desktop, at their addresses."""

from __future__ import annotations

import posixpath
from pathlib import Path

from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.engines.docker.services import (
    VNC_PORT,
    VSCODE_PORT,
    SandboxServices,
)
from pytest_agent_sandbox.engines.docker.video import DesktopVideo
from pytest_agent_sandbox.errors import ServiceUnavailable
from pytest_agent_sandbox.sandbox.agent_server import SERVER_PORT
from pytest_agent_sandbox.sandbox.service_status import ServiceName, ServiceStatus
from pytest_agent_sandbox.sandbox.workspace import Workspace


class WorkspaceServices(Workspace):
    """A workspace whose services people can open; `DockerWorkspace` is one.

    Attributes:
        engine: The engine.
        container: Its container.
    """

    engine: ContainerEngine
    container: Container
    _services: SandboxServices
    _is_recorded: bool
    _video: DesktopVideo | None = None

    @property
    def host_port(self) -> int:
        """The port of 127.0.0.1 on which the server is published."""
        return self.container.ports[SERVER_PORT]

    @property
    def vscode_port(self) -> int | None:
        """The port of 127.0.0.1 on which VS Code is published; None without `extra_ports`."""
        return self.container.ports.get(VSCODE_PORT)

    @property
    def vnc_port(self) -> int | None:
        """The port of 127.0.0.1 on which the desktop is published; None without `extra_ports`."""
        return self.container.ports.get(VNC_PORT)

    def services(self) -> dict[ServiceName, ServiceStatus]:
        """Return how `server`, `vscode` and `desktop` are right now: running, down, off, missing.

        Example:
            ```python
            assert workspace.services()["desktop"].state == "running"
            ```
        """
        return self._services.states()

    def vscode_url(self, folder: str | None = None, *, timeout: float = 30.0) -> str:
        """Wait for VS Code and return its address, which holds its token: who has it gets in.

        Args:
            folder: The folder to open; the workspace's by default.
            timeout: Seconds for VS Code to answer.

        Raises:
            ServiceUnavailable: The image has none, it is not published, or it does not answer.
        """
        opened = posixpath.join(self.working_dir, folder) if folder else self.working_dir
        return self._services.vscode_url(opened, timeout)

    def vnc_url(self, *, timeout: float = 30.0) -> str:
        """Wait for the desktop and return its address, which holds its token: who has it gets in.

        Args:
            timeout: Seconds for the desktop to answer.

        Raises:
            ServiceUnavailable: The image has none, it is not published, or it does not answer.
        """
        # A recording wants the desktop to keep its size.
        return self._services.desktop_url(timeout, view_only=False, scale=self._is_recorded)

    def browser_view_url(self, *, timeout: float = 30.0) -> str:
        """As `vnc_url`, to watch the agent's browser on the desktop without touching anything."""
        return self._services.desktop_url(timeout, view_only=True, scale=True)

    def record_desktop(self) -> None:
        """Record a video of the desktop from now on; `save_video` ends that.

        Raises:
            SandboxError: The engine refused, or does not answer.
        """
        self._video = DesktopVideo(self.engine, self.container)

    def save_video(self, path: Path) -> None:
        """End the recording and write it to a file, also where the container has ended.

        Raises:
            SandboxError: There is no recording, or the engine does not answer.
            OSError: The file cannot be written.
        """
        if self._video is None:
            raise ServiceUnavailable("The desktop is not recorded: call record_desktop() first.")
        self._video.save(path)
