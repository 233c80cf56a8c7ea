"""A video of a sandbox's desktop, recorded in the sandbox from its start on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_agent_sandbox.containers.inside import Process, copy_file

if TYPE_CHECKING:
    from pytest_agent_sandbox.containers.container import Container
    from pytest_agent_sandbox.containers.engine import ContainerEngine

_FILE = "/tmp/agent-sandbox-desktop/desktop.mp4"  # noqa: S108 - in the sandbox
_RECORD = ("/bin/sh", "/opt/agent-sandbox/record-desktop", _FILE)
# By the file's name: the agent may run an ffmpeg of its own.
_STOP = ("pkill", "-INT", "-f", _FILE)
# Seconds for the recorder to write what it has; what is lost after them is the last second or two.
_STOP_TIMEOUT = 5.0
_LARGEST = 512 * 1024 * 1024


class DesktopVideo:
    """Records the desktop of a sandbox; it ends with the sandbox's container.

    Args:
        engine: The container's engine.
        container: One with a desktop.

    Raises:
        SandboxError: The engine refused, or does not answer.
    """

    def __init__(self, engine: ContainerEngine, container: Container) -> None:
        self._engine = engine
        self._container = container
        self._recorder = Process(engine, container, _RECORD)

    def save(self, path: Path) -> None:
        """End the recording and write it to a file, also where the container has ended.

        Raises:
            SandboxError: There is no recording, or the engine does not answer.
            OSError: The file cannot be written.
        """
        engine, container = self._engine, self._container
        if container.state().status == "running":
            Process(engine, container, _STOP)
            self._recorder.wait(_STOP_TIMEOUT)
        copy_file(engine, container, _FILE, path, limit=_LARGEST)
