"""A look into an image's files."""

from __future__ import annotations

import time

import pytest

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.image_files import open_image
from pytest_agent_sandbox.errors import SandboxError


def test_a_folder_that_is_too_large_is_said_to_be_so_at_once(
    engine: ContainerEngine, agent_server_image: str
) -> None:
    began = time.monotonic()
    with (
        pytest.raises(SandboxError, match="bytes in /agent-server, too much for a folder in mem"),
        open_image(engine, agent_server_image) as files,
    ):
        files.archive("/agent-server")
    assert time.monotonic() - began < 20, "the engine removes the container only after that"


def test_what_is_there_and_what_is_not(engine: ContainerEngine, agent_server_image: str) -> None:
    with open_image(engine, agent_server_image) as files:
        assert "root:" in files.text("/etc/passwd")
        assert files.text("/etc/no-such-file") == ""
        assert files.has("/etc")
        assert not files.has("/no/such/folder")
