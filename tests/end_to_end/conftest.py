"""Running pytest, as a user would, in a project of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from tests.support.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return Project(folder)


@pytest.fixture
def recycled(project: Project) -> None:
    """The project's tests use one sandbox, for they are not about how it starts: that takes 5 s."""
    project.environment["PYTEST_SANDBOX_ISOLATION"] = "recycled"


@pytest.fixture
def served(project: Project, on_running_server: dict[str, str]) -> None:
    """The project's tests use that server, for they are about what agents do in a sandbox.

    A run of theirs waits for no start, of which there are hundreds.
    """
    project.environment |= on_running_server


@pytest.fixture(scope="session")
def engine_client() -> docker.DockerClient:
    try:
        client = docker.from_env()
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        if os.environ.get("PYTEST_SANDBOX_NO_ENGINE") == "skip":
            pytest.skip(f"no container engine answers: {error}")
        raise
    yield client
    client.close()


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
