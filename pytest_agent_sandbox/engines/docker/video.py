"""A video of a sandbox's desktop, recorded in the sandbox from its start on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_agent_sandbox.containers.inside import Process, copy_file

if TYPE_CHECKING:
    from pytest_agent_sandbox.engines.docker.workspace import DockerWorkspace

_FILE = "/tmp/agent-sandbox-desktop/desktop.mp4"  # noqa: S108 - in the sandbox
_RECORD = ("/bin/sh", "/opt/agent-sandbox/record-desktop", _FILE)
# By the file's name: the agent may run an ffmpeg of its own.
_STOP = ("pkill", "-INT", "-f", _FILE)
# Seconds for the recorder to write what it has; what is lost after them is the last second or two.
_STOP_TIMEOUT = 5.0
_LARGEST = 512 * 1024 * 1024


class DesktopVideo:
    """Records the desktop of a workspace; it ends with the workspace's container.

    Args:
        workspace: One with a desktop.

    Raises:
        SandboxError: The engine refused, or does not answer.
    """

    def __init__(self, workspace: DockerWorkspace) -> None:
        self._workspace = workspace
        self._recorder = Process(workspace.engine, workspace.container, _RECORD)

    def save(self, path: Path) -> None:
        """End the recording and write it to a file, also where the container has ended.

        Raises:
            SandboxError: There is no recording, or the engine does not answer.
            OSError: The file cannot be written.
        """
        engine, container = self._workspace.engine, self._workspace.container
        if container.state().status == "running":
            Process(engine, container, _STOP)
            self._recorder.wait(_STOP_TIMEOUT)
        copy_file(engine, container, _FILE, path, limit=_LARGEST)
