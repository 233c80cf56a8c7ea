"""A real agent server in a real container, and a workspace on it for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.containers.engine import Engine

from .scripted_llm import ScriptedLLM
from .server import Server, running_server


@pytest.fixture(scope="session")
def server(engine: Engine, agent_server_image: str) -> Iterator[Server]:
    """One server for all tests that leave it running."""
    with running_server(engine, agent_server_image) as server:
        yield server


@pytest.fixture
def fresh_server(engine: Engine, agent_server_image: str) -> Iterator[Server]:
    """A server of the test's own, to be killed or paused."""
    with running_server(engine, agent_server_image) as server:
        yield server


@pytest.fixture
def workspace(server: Server) -> Iterator[RemoteWorkspace]:
    """A workspace with a working directory that no other test has touched."""
    working_dir = f"/workspace/{uuid.uuid4().hex[:12]}"
    with RemoteWorkspace(server.host, server.api_key, working_dir) as workspace:
        yield workspace


@pytest.fixture
def llm() -> Iterator[ScriptedLLM]:
    """An LLM that the test writes the answers of."""
    with ScriptedLLM() as llm:
        yield llm
