"""A real agent server in a real container, and a workspace on it for each test."""

from __future__ import annotations

import contextlib
import os
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import docker
import pytest

from pytest_agent_sandbox.client.workspace import RemoteWorkspace

from .scripted_llm import ScriptedLLM


@dataclass(frozen=True)
class Server:
    host: str
    api_key: str
    container_id: str


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """A container with an agent server that answers; removed in the end."""
    image = os.environ.get("SANDBOX_TEST_IMAGE", "kg-agent:1.58.0")
    api_key = secrets.token_urlsafe(24)
    with contextlib.closing(docker.from_env()) as engine:
        container = engine.containers.run(
            image,
            detach=True,
            ports={"8000/tcp": ("127.0.0.1", None)},
            labels={"pytest-agent-sandbox.tests": "client"},
            extra_hosts={"host.docker.internal": "host-gateway"},
            environment={
                "OH_SESSION_API_KEYS_0": api_key,
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                "OH_PRELOAD_TOOLS": "false",
                "OH_ENABLE_VSCODE": "false",
            },
        )
        try:
            container.reload()
            port = container.ports["8000/tcp"][0]["HostPort"]
            server = Server(f"http://127.0.0.1:{port}", api_key, container.id)
            with RemoteWorkspace(server.host, server.api_key) as workspace:
                workspace.wait_until_ready(timeout=60)
            yield server
        finally:
            container.remove(force=True, v=True)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One server for all tests that leave it running."""
    with running_server() as server:
        yield server


@pytest.fixture
def fresh_server() -> Iterator[Server]:
    """A server of the test's own, to be killed or paused."""
    with running_server() as server:
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
