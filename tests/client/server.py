"""A real agent server in a real container."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.engines.docker.workspace import DockerWorkspace


@dataclass(frozen=True)
class Server:
    host: str
    api_key: str
    container_id: str


@contextlib.contextmanager
def running_server(engine: ContainerEngine, image: str) -> Iterator[Server]:
    """A container with an agent server that answers; removed in the end."""
    # One test makes files of root's.
    with DockerWorkspace(server_image=image, engine=engine, security="sudo") as workspace:
        yield Server(
            workspace.host, workspace.session_key.get_secret_value(), workspace.container.id
        )
