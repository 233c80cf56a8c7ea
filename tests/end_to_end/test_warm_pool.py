"""Sandboxes that are started ahead of the tests that will use them."""

from __future__ import annotations

import re

import pytest

from tests.support.project import Project

# Waits for the sandbox that is started ahead, and until it answers.
AHEAD = """
import os, time
import docker, httpx, pytest

def ahead(run):
    client = docker.from_env()
    try:
        filters = {"label": [f"pytest-agent-sandbox.run={run}", "pytest-agent-sandbox.test=(any)"]}
        found = client.containers.list(filters=filters)
        return [one for one in found if one.name.count("-") == 2]  # others have their tests' names
    finally:
        client.close()

def answers(container):
    try:
        port = container.attrs["NetworkSettings"]["Ports"]["8000/tcp"][0]["HostPort"]
        return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).is_success
    except (httpx.HTTPError, KeyError, IndexError):
        return False

def wait_for_the_next(workspace):
    run = workspace.container.spec.labels["run"]
    deadline = time.monotonic() + 60
    while not any(answers(one) for one in ahead(run)):
        assert time.monotonic() < deadline, ahead(run)
        time.sleep(0.1)
    time.sleep(0.2)  # for the pool to have seen it too
    return ahead(run)
"""


def numbers(output: str) -> tuple[int, int, int]:
    """How many sandboxes were started, how many of them ahead, and how many in time."""
    found = re.search(r"agent-sandbox: (\d+) sandbox(?:es)? started", output)
    assert found is not None
    early = re.search(r"(\d+) of them ahead, (\d+) ready in time", output)
    return int(found[1]), int(early[1] if early else 0), int(early[2] if early else 0)


def test_the_next_tests_sandbox_is_ready(project: Project, sandboxes) -> None:
    before = sandboxes()
    project.write("ahead.py", AHEAD)
    project.write(
        "test_it.py",
        """
import os, re
import pytest
from ahead import ahead, wait_for_the_next

FORWARDING = {"first": "ONE_KEY", "second": "ANOTHER_KEY"}

@pytest.mark.parametrize("which", [
    pytest.param(which, marks=pytest.mark.agent_sandbox(forward_env=[name]))
    for which, name in FORWARDING.items()])
def test_keys(agent_workspace, which):
    shown = agent_workspace.execute_command("env").stdout
    name = FORWARDING[which]
    assert f"{name}=value of {name}" in shown
    (other,) = set(FORWARDING.values()) - {name}
    assert other not in shown
    # Not even whoever may ask the engine learns it.
    container = agent_workspace.container
    shown = agent_workspace.engine.client.api.inspect_container(container.id)
    if which == "second":
        assert "value of" not in str(shown)
        assert container.name.startswith("agent-sandbox-test_it.py-test_keys-second")
    wait_for_the_next(agent_workspace)

def test_one_that_died_is_not_handed_out(agent_workspace):
    for warm in wait_for_the_next(agent_workspace):
        warm.kill()

def test_after_that(agent_workspace, agent_conversation):
    assert agent_workspace.execute_command("echo alive").stdout == "alive\\n"
    log = agent_workspace.log_path.read_text()
    assert "Uvicorn running" in log, "from its start on"

def test_last(agent_workspace):
    assert ahead(agent_workspace.container.spec.labels["run"]) == []
    assert 0, "for its log"
""",
    )
    project.environment |= {
        name: f"value of {name}" for name in ("ONE_KEY", "ANOTHER_KEY", "OH_UNKNOWN")
    }
    project.write("pytest.ini", "[pytest]\npythonpath = .\n")
    code, output = project.run("--sandbox-pool-size=1", "-v", "--durations=0")
    assert code == 1
    assert "1 failed, 4 passed" in output
    started, ahead, in_time = numbers(output)
    assert (started, ahead) == (5, 4), "one has died"
    assert in_time >= 2
    setups = dict(re.findall(r"^([\d.]+)s setup +test_it.py::(\S+)", output, re.MULTILINE))
    assert setups, "what tests waited is in their set-up"
    (folder,) = project.results
    log = (folder / "container.log").read_text()
    assert "Uvicorn running" in log
    assert "value of" not in output + log + (folder / "result.json").read_text()
    assert sandboxes() == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], (1, 1)),
        (["--sandbox-pool-size=0"], (1, 0)),
        (["--sandbox-pool-size=1", "--setup-plan"], None),
        (["--sandbox-keep=failed"], (1, 0)),
    ],
    ids=["auto", "none", "plan", "kept"],
)
def test_no_more_than_needed(project: Project, sandboxes, arguments, expected) -> None:
    before = sandboxes()
    project.write(
        "test_it.py",
        "def test_first(): pass\n"
        "def test_x(agent_workspace): assert agent_workspace.alive()\n"
        "def test_last(): pass\n",
    )
    code, output = project.run("-v", *arguments)
    assert code == 0
    if expected is None:
        assert "sandbox started" not in output
    else:
        assert numbers(output)[:2] == expected
    assert sandboxes() == before


def test_a_run_that_ends_early_leaves_nothing(project: Project, sandboxes) -> None:
    before = sandboxes()
    project.write(
        "test_it.py",
        "import pytest\n"
        "@pytest.mark.parametrize('number', range(5))\n"
        "def test_x(agent_workspace, number): assert 0\n",
    )
    code, output = project.run("-v", "-x", "--sandbox-pool-size=2")
    assert code == 1
    assert numbers(output)[0] == 1
    assert sandboxes() == before


@pytest.mark.usefixtures("agent_server_image")
def test_settings_from_fixtures(project: Project) -> None:
    project.write(
        "conftest.py",
        "import dataclasses, pytest\n"
        "@pytest.fixture(scope='session')\n"
        "def sandbox_settings(sandbox_settings):\n"
        "    return dataclasses.replace(sandbox_settings, memory='1g')\n",
    )
    project.write(
        "test_it.py",
        "import pytest\n"
        "@pytest.mark.parametrize('number', range(2))\n"
        "def test_x(agent_workspace, number):\n"
        "    assert agent_workspace.container.spec.memory == '1g'\n"
        "@pytest.mark.agent_sandbox(memory='2g')\n"
        "def test_y(agent_workspace):\n"
        "    assert agent_workspace.container.spec.memory == '2g'\n",
    )
    code, output = project.run("-v")
    assert code == 0
    assert numbers(output)[:2] == (3, 1), "only what one like it has had is known ahead"


def test_workers_share_the_work(project: Project, sandboxes) -> None:
    before = sandboxes()
    project.write(
        "test_it.py",
        "import pytest\n"
        "@pytest.mark.parametrize('number', range(3))\n"
        "def test_x(agent_workspace, number): assert agent_workspace.alive()\n"
        "def test_shared(shared_agent_workspace): assert shared_agent_workspace.alive()\n",
    )
    code, output = project.run("-v", "-n", "2")
    assert code == 0
    assert numbers(output)[0] == 4
    assert output.count(" started (p50 ") == 1
    assert sandboxes() == before


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("--sandbox-pool-size=many", "'many' must be a whole number, or auto"),
        ("--sandbox-max=0", "'0' must be a whole number above 0"),
        ("--sandbox-max=all", "'all' must be a whole number above 0"),
        ("--sandbox-isolation=loose", "must be one of fresh, recycled, shared"),
        ("--sandbox-max-reuses=0", "'0' must be a whole number above 0"),
    ],
)
def test_wrong_values(project: Project, argument: str, complaint: str) -> None:
    project.write("test_it.py", "def test_x(agent_workspace): pass\n")
    code, output = project.run("-v", argument)
    assert code == 4
    assert complaint in output


@pytest.mark.usefixtures("agent_server_image")
def test_what_concerns_the_whole_run_is_no_marker(project: Project) -> None:
    project.write(
        "test_it.py",
        "import pytest\n@pytest.mark.agent_sandbox(pool_size=3)\n"
        "def test_x(agent_workspace): pass\n",
    )
    code, output = project.run("-v")
    assert code == 1
    assert "'pool_size' can only be set for the whole run, by --sandbox-pool-size" in output
