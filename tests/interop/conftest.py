"""A Python with openhands packages, which need a newer one than the tests: in a container.

It is the agent server's own image with pytest and what this package depends on; the package itself
is mounted.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path

import docker
import pytest
from filelock import FileLock

from tests.support.project import Project

ROOT = Path(__file__).parents[2]
PYTHON = "/agent-server/.venv/bin/python"
_REPOSITORY = "pytest-agent-sandbox/tests-with-openhands"
_TIMEOUT = 240


@pytest.fixture(scope="session")
def openhands_image(engine, agent_server_image: str) -> str:
    """Made once, and again where the dependencies or the server's image change."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = " ".join(f"'{name}'" for name in [*project["dependencies"], "pytest-xdist", "psutil"])
    images = docker.DockerClient(base_url=engine.endpoint).images
    base = images.get(agent_server_image)
    recipe = (
        f"FROM {base.id}\nUSER root\n"
        f"RUN {PYTHON} -m pip install --quiet --disable-pip-version-check {needed}\n"
    )
    tag = f"{_REPOSITORY}:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    with FileLock(Path(tempfile.gettempdir(), "pytest-agent-sandbox-openhands.lock")):
        if tag not in [name for image in images.list(_REPOSITORY) for name in image.tags]:
            for image in images.list(_REPOSITORY):
                images.remove(image.id, force=True)
            images.build(fileobj=io.BytesIO(recipe.encode()), tag=tag, rm=True, network_mode="host")
    images.client.close()
    return tag


@pytest.fixture
def with_openhands(engine, openhands_image: str, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Runs Python in that container, on this machine's network; its code and its output."""
    project = tmp_path / "project"
    project.mkdir()
    client = docker.DockerClient(base_url=engine.endpoint)

    def run(
        *arguments: str, files: dict[str, str], environment: dict[str, str] | None = None
    ) -> tuple[int, str]:
        for name, text in files.items():
            (project / name).write_text(text, "utf-8")
        container = client.containers.create(
            openhands_image,
            list(arguments),
            entrypoint=[PYTHON],
            network_mode="host",
            user="root",
            working_dir="/project",
            volumes=[f"{ROOT}:/source:ro", f"{project}:/project"],
            init=True,
            environment={
                "PYTHONPATH": "/source",
                "PYTHONDONTWRITEBYTECODE": "1",
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                **(environment or {}),
            },
        )
        try:
            container.start()
            code = container.wait(timeout=_TIMEOUT)["StatusCode"]
            output = container.logs().decode(errors="replace")
        finally:
            container.remove(force=True)
        print(output)
        return code, output

    yield run
    client.close()


@pytest.fixture
def project_folder(tmp_path: Path) -> Path:
    """Where `with_openhands` runs."""
    return tmp_path / "project"


@pytest.fixture
def project_of_tests(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Runs a test with a workspace, by this Python."""
    folder = tmp_path / "plain"
    folder.mkdir()
    project = Project(folder)
    project.write("test_it.py", "def test_it(agent_workspace): ...\n")
    return project.run
