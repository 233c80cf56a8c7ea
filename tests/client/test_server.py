"""The server itself: that it is up, which it is, whom it lets in, and what it keeps."""

from __future__ import annotations

import pytest

from pytest_agent_sandbox.client.server_state import ServerState
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import find_local, server_version
from pytest_agent_sandbox.errors import ServerError

from .server import Server


def test_it_is_up_and_says_which_it_is(
    engine: ContainerEngine, agent_server_image: str, workspace: RemoteWorkspace
) -> None:
    workspace.wait_until_ready(timeout=5)
    assert workspace.alive()
    image = find_local(engine, agent_server_image)
    assert image is not None
    assert str(workspace.connection.version) == server_version(image)


def test_it_wants_the_key(server: Server) -> None:
    with (
        RemoteWorkspace(server.host, "another key") as workspace,
        pytest.raises(ServerError, match="401"),
    ):
        workspace.execute_command("true")


def test_what_a_test_left_can_be_cleared(fresh_server: Server) -> None:
    """On a server of its own: conversations of other tests, at work perhaps, are not its to end."""
    with RemoteWorkspace(fresh_server.host, fresh_server.api_key) as workspace:
        state = ServerState(workspace.connection)
        workspace.execute_command("echo something")
        assert state.clear() == []
        assert state.changes() == []
