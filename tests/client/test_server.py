"""The server itself: that it is up, which it is, and whom it lets in."""

from __future__ import annotations

import pytest

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
