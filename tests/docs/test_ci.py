"""The files for CI services: what they run, runs, and what they keep, is there then."""

from __future__ import annotations

from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_agent_sandbox.containers.engine import ContainerEngine
from tests.support.fake_engine import EngineProxy
from tests.support.project import Project

from .commands import parsed, walked
from .markdown import ROOT, blocks

TESTS = """
from pytest_agent_sandbox import say

def test_passes(agent_workspace, agent_llm, agent_conversation):
    agent_llm.script([say("Done.")])
    conversation = agent_conversation()
    conversation.send_message("Go.")
    conversation.run(timeout=60)
"""
FAILING = ROOT.joinpath("examples/failing/test_fails_on_purpose.py").read_text("utf-8")


def file_called(name: str) -> dict[str, Any]:
    (found,) = [block for block in blocks("yaml") if block.code.startswith(f"# {name}\n")]
    return dict(yaml.safe_load(found.code))


def run_as_in_ci(
    project: Project, command: str, variables: dict[str, str], image: str, service: str
) -> str:
    """Runs a project with a test that passes and one that fails, without any key."""
    (block,) = blocks("yaml", page="docs/ci.md")[:1]
    ((_, *arguments),) = [line.words for line in parsed(command, block)]
    project.write("test_it.py", TESTS)
    project.write("test_fails_on_purpose.py", FAILING)
    project.environment |= {
        name: value for name, value in variables.items() if name.startswith("PYTEST_")
    }
    project.environment |= {"CI": "true", service: "true", "PYTEST_SANDBOX_IMAGE": image}
    code, output = project.run("-W", "error", *arguments)
    assert code == 1
    assert "1 failed, 1 passed" in output
    return output


def check_kept(project: Project, paths: list[str]) -> None:
    for path in paths:
        assert (project.folder / path).exists(), path
    assert (project.folder / "agent-results" / "index.html").exists()
    assert len(project.results) == 1
    transcript = "result: LICENSE  notes.txt"
    assert transcript in (project.folder / "junit.xml").read_text("utf-8")


def test_github(project: Project, agent_server_image: str, tmp_path: Path) -> None:
    (job,) = file_called(".github/workflows/tests.yml")["jobs"].values()
    (command,) = [step["run"] for step in job["steps"] if step.get("run", "").startswith("pytest ")]
    summary = tmp_path / "summary.md"
    project.environment["GITHUB_STEP_SUMMARY"] = str(summary)
    output = run_as_in_ci(project, command, job["env"], agent_server_image, "GITHUB_ACTIONS")
    kept = {
        step["with"]["path"]: step["if"]
        for step in job["steps"]
        if "upload-artifact" in step.get("uses", "")
    }
    assert kept == {"junit.xml": "${{ !cancelled() }}", "agent-results": "failure()"}
    check_kept(project, list(kept))
    assert "test_the_agent_keeps_the_licence" in unescape(summary.read_text("utf-8"))
    assert "::error " in output


@pytest.fixture
def engine_of_a_service(engine: ContainerEngine) -> Iterator[str]:
    """The engine, as if it were another machine's: its ports are not this one's."""
    if not engine.endpoint.startswith("unix://"):
        pytest.skip(f"the engine at {engine.endpoint} has no Unix socket")
    proxy = EngineProxy(engine.endpoint.removeprefix("unix://"), "127.0.0.2")
    yield proxy.address
    proxy.close()


def test_gitlab(project: Project, agent_server_image: str, engine_of_a_service: str) -> None:
    job = file_called(".gitlab-ci.yml")["tests"]
    (command,) = job["script"]
    project.environment["DOCKER_HOST"] = engine_of_a_service
    run_as_in_ci(project, command, job["variables"], agent_server_image, "GITLAB_CI")
    artifacts = job["artifacts"]
    assert artifacts["when"] == "always"
    check_kept(project, [*artifacts["paths"], artifacts["reports"]["junit"]])


@pytest.mark.parametrize("name", [".github/workflows/tests.yml", ".gitlab-ci.yml"])
def test_the_image_is_built_once_and_kept_under_the_name_that_the_tests_use(name: str) -> None:
    file = file_called(name)
    variables: dict[str, str] = {}
    scripts = ""
    for key, value in walked(file):
        if key in ("env", "variables"):
            variables |= value
        if key in ("run", "before_script"):
            scripts += value if isinstance(value, str) else "\n".join(value)
    image = variables["PYTEST_SANDBOX_IMAGE"]
    assert f"agent-sandbox build --tag {image}" in scripts
    assert f"docker save --output agent-server.tar {image}" in scripts
    assert "docker load --input agent-server.tar" in scripts
    cached = [value for key, value in walked(file) if key in ("path", "paths")]
    assert any("agent-server.tar" in str(value) for value in cached)
    assert "LLM_API_KEY" not in variables
