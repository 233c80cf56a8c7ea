"""Using a sandbox again for another test, which is to see nothing of the first."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

from pydantic import SecretStr

from pytest_agent_sandbox.client.server_state import ServerState
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.janitor import Janitor

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


class Recycler:
    """Knows a sandbox as it was at first, and brings it back to that.

    Args:
        engine: The container's engine.
        container: The sandbox's container, its server answering.
        address: The server's address.
        session_key: What its clients have to show.
        files: What its image has in its folders in memory.
        volumes: The folders in it that are the host's, or volumes.

    Raises:
        SandboxError: Its state is not one that can be brought back.
    """

    def __init__(
        self,
        engine: ContainerEngine,
        container: Container,
        address: str,
        session_key: SecretStr,
        files: Mapping[str, bytes],
        volumes: Sequence[str],
    ) -> None:
        self._janitor = Janitor(engine, container)
        try:
            self._connection = ServerConnection(address, session_key, guard=container.check)
            try:
                self._janitor.restore(files)
                self._server = ServerState(self._connection)
                self._janitor.remember(volumes)
            except BaseException:
                self._connection.close()
                raise
        except BaseException:
            self._janitor.close()
            raise

    def reset(self) -> list[str]:
        """Bring the first state back; return what is not as it was, in words.

        Raises:
            SandboxError: The server or the janitor does not answer.
        """
        # First the processes: what they do to the server, and what it remembers of their end, is
        # cleared after that.
        self._janitor.kill()
        return self._server.clear() + self._janitor.reset() + self._server.changes()

    def close(self) -> None:
        """Let go of the sandbox."""
        self._connection.close()
        self._janitor.close()
