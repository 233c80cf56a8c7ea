"""Running pytest, as a user would, in a project of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from pytest_agent_sandbox.containers.engine import ContainerEngine
from tests.support.project import Project

MEMORY_ENGINE = Path(__file__).parents[1] / "support" / "memory_engine.py"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return Project(folder)


@pytest.fixture
def with_engine(project: Project) -> Project:
    """A project beside which a distribution with an engine in memory is installed."""
    project.environment |= {
        "PYTHONPATH": str(project.folder / "installed"),
        "DOCKER_HOST": "tcp://127.0.0.1:9",  # no other engine could be reached
    }
    project.write("installed/memory_engine.py", MEMORY_ENGINE.read_text("utf-8"))
    project.install("memory", "memory = memory_engine:MemoryEngine")
    return project


@pytest.fixture
def recycled(project: Project, agent_server_image: str) -> None:
    """The project's tests use one sandbox, for they are not about how it starts: that takes 5 s."""
    project.environment["PYTEST_SANDBOX_ISOLATION"] = "recycled"


@pytest.fixture
def served(project: Project, on_running_server: dict[str, str]) -> None:
    """The project's tests use that server, for they are about what agents do in a sandbox.

    A run of theirs waits for no start, of which there are hundreds.
    """
    project.environment |= on_running_server


@pytest.fixture(scope="session")
def engine_client(engine: ContainerEngine) -> docker.DockerClient:
    """Docker's own client of the engine, to see what a project's runs have left there."""
    return engine.client


@pytest.fixture
def sandboxes(project: Project, engine_client: docker.DockerClient) -> Callable[[], list[str]]:
    """Names of the sandboxes that were started by this project's runs, running or not."""

    def names() -> list[str]:
        (place,) = [file.read_text() for file in project.scratch.glob("*/place")] or [""]
        label = f"pytest-agent-sandbox.owner-place={place}"
        containers = engine_client.containers.list(
            all=True, filters={"label": label}, ignore_removed=True
        )
        return [container.name for container in containers]

    return names
