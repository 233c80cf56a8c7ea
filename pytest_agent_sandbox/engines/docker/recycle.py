"""Using a sandbox again for another test, which is to see nothing of the first."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from pydantic import SecretStr

from pytest_agent_sandbox.containers.accounts import Account
from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.janitor import Janitor
from pytest_agent_sandbox.containers.template import Server, Template
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.sandbox.agent_server import secret_environment

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
        server: Its servers.
        account: Their user.
        has_groups: Whether the user is also in the groups that the image's files tell.
        gains: Whether their programs may gain privileges, as by `sudo`.
        files: What its image has in its folders in memory.
        volumes: The folders in it that are the host's, or volumes.
    """

    server: Server
    account: Account
    has_groups: bool
    gains: bool
    files: Mapping[str, bytes]
    volumes: Sequence[str]


class Recycler(Closing):
    """Starts the servers of a sandbox, and brings it back to what it was before the first one.

    Args:
        engine: The container's engine.
        container: The sandbox's container, in which nothing runs yet.
        state: What it is to be.
        timeout: Seconds that loading the server may take.
        check: Called while waiting; what it raises ends that.

    Raises:
        SandboxError: Its state is not one that can be brought back, or the server cannot be loaded.
    """

    def __init__(
        self,
        engine: ContainerEngine,
        container: Container,
        state: FirstState,
        timeout: float,
        check: Callable[[], None],
    ) -> None:
        with ExitStack() as closing:
            self._template = closing.enter_context(
                Template(
                    engine,
                    container,
                    state.server,
                    state.account,
                    has_groups=state.has_groups,
                    gains=state.gains,
                )
            )
            self._janitor = closing.enter_context(Janitor(engine, container))
            self._janitor.restore(state.files)
            self._template.load(timeout, check)
            self._janitor.remember(state.volumes)
            self._closing = closing.pop_all()

    def serve(self, session_key: SecretStr, secret_key: SecretStr) -> None:
        """Begin a server; it is still to answer.

        Raises:
            SandboxError: The template does not answer.
        """
        self._template.serve(secret_environment(session_key, secret_key))

    def stop(self) -> None:
        """End the server.

        Raises:
            SandboxError: The template does not answer.
        """
        self._template.stop()

    def clean(self) -> list[str]:
        """Bring the first state back; return what is not as it was, in words.

        Raises:
            SandboxError: The janitor does not answer.
        """
        return self._janitor.reset()

    def close(self) -> None:
        """Let go of the sandbox."""
        self._closing.close()
