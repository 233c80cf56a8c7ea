"""Using a sandbox again for another test, which is to see nothing of the first."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pytest_agent_sandbox.containers.janitor import Janitor
from pytest_agent_sandbox.containers.template import Template
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.host.program import RunningContainer

#: Where agent servers keep what is theirs, whoever they run as.
SERVER_FOLDER = "/workspace"
#: Where an agent server keeps conversations and commands, whatever folder it is started in.
SERVER_FOLDERS = {
    "OH_CONVERSATIONS_PATH": "/workspace/conversations",
    "OH_BASH_EVENTS_DIR": "/workspace/bash_events",
}
#: What has to be writable for an agent server and its tools, beside its user's home.
PLACES = ("/tmp", "/var/tmp", "/run", "/root", "/workspace")  # noqa: S108 - in the container


def folders_in_memory(working_dir: str) -> list[str]:
    """Return the folders of a recycled sandbox that can be written to, but its user's home."""
    is_inside = any(posixpath.commonpath([working_dir, place]) == place for place in PLACES)
    return list(PLACES) if is_inside else [*PLACES, working_dir]


@dataclass(frozen=True, kw_only=True)
class FirstState:
    """What a recycled sandbox is before its first server.

    Attributes:
        files: What its image has in its folders in memory.
        volumes: The folders in it that are the host's, or volumes.
    """

    files: Mapping[str, bytes]
    volumes: Sequence[str]


class Recycler(Closing):
    """Brings a sandbox back to what it was before its first server.

    Args:
        container: The sandbox's container, in which no server runs yet.
        template: Its template, which loads the server for all of its uses.
        state: What it is to be.
        timeout: Seconds that loading the server may take.
        check: Called while waiting; what it raises ends that.

    Raises:
        SandboxError: Its state is not one that can be brought back, or the server cannot be loaded.
    """

    def __init__(
        self,
        container: RunningContainer,
        template: Template,
        state: FirstState,
        timeout: float,
        check: Callable[[], None],
    ) -> None:
        self._janitor = Janitor(container)
        try:
            self._janitor.restore(state.files)
            template.load(timeout, check)
            self._janitor.remember(state.volumes)
        except BaseException:
            self._janitor.close()
            raise

    def clean(self) -> list[str]:
        """Bring the first state back, once the server has ended; return what is not as it was.

        Raises:
            SandboxError: The janitor does not answer.
        """
        return self._janitor.reset()

    def close(self) -> None:
        """Let go of the sandbox."""
        self._janitor.close()
