"""A real agent server in a real container, and a workspace on it for each test."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_agent_sandbox.client.agents import default_agent
from pytest_agent_sandbox.client.conversation import RemoteConversation
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.containers.engine import ContainerEngine

from .conversing import Converse
from .scripted_llm import ScriptedLLM
from .server import Server, running_server


@pytest.fixture(scope="session")
def server(engine: ContainerEngine, agent_server_image: str) -> Iterator[Server]:
    """One server for all tests that leave it running."""
    with running_server(engine, agent_server_image) as server:
        yield server


@pytest.fixture
def fresh_server(engine: ContainerEngine, agent_server_image: str) -> Iterator[Server]:
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


@pytest.fixture
def converse(workspace: RemoteWorkspace, llm: ScriptedLLM) -> Iterator[Converse]:
    """Starts conversations that are closed with the test, and leave no thread behind."""
    before = set(threading.enumerate())
    with contextlib.ExitStack() as closing:

        def start(**settings: Any) -> RemoteConversation:
            where = settings.pop("workspace", workspace)
            agent = settings.pop("agent", default_agent(llm.llm()))
            conversation = RemoteConversation(where, agent, **settings)
            closing.callback(conversation.close)
            return conversation

        yield start
    assert set(threading.enumerate()) <= before
