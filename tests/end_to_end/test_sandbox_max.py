"""`--sandbox-max`: no more sandboxes at once, however many workers and tests there are."""

from __future__ import annotations

import re

import pytest

from tests.support.project import Project

# Notes how many containers of the run there are while its test runs.
SEVERAL = """
import pathlib, time
import docker, pytest

def of_run(run):
    client = docker.from_env()
    try:
        label = f"pytest-agent-sandbox.run={run}"
        return len(client.containers.list(filters={"label": label}))
    finally:
        client.close()

@pytest.mark.parametrize("number", range(4))
def test_one(agent_workspace, number):
    run = agent_workspace.container.spec.labels["run"]
    until = time.monotonic() + 3
    while time.monotonic() < until:
        with open("counts", "a") as counts:
            print(of_run(run), file=counts)
        time.sleep(0.2)
"""


@pytest.mark.usefixtures("agent_server_image")
@pytest.mark.parametrize(("most", "workers"), [(1, "2"), (2, "0")])
def test_there_are_no_more_at_once(project: Project, sandboxes, most: int, workers: str) -> None:
    before = sandboxes()
    project.write("test_it.py", SEVERAL)
    arguments = (f"--sandbox-max={most}", "-n", workers, "-v", "--sandbox-pool-size=2")
    code, output = project.run(*arguments)
    assert code == 0
    counts = [int(line) for line in (project.folder / "counts").read_text("utf-8").split()]
    assert max(counts) == most
    if workers == "2":
        told = "waiting for a sandbox: 1 of the 1 that --sandbox-max allows are there"
        assert told in output
    assert sandboxes() == before
    left = {file.name for file in project.scratch.rglob("sandboxes-*")}
    assert left == set()


@pytest.mark.usefixtures("agent_server_image")
def test_a_test_that_wants_more_than_all_fails_at_once(project: Project, sandboxes) -> None:
    before = sandboxes()
    project.write(
        "test_it.py",
        "def test_two(agent_workspace, agent_workspace_factory): agent_workspace_factory()\n"
        "def test_one(agent_workspace): assert agent_workspace.alive()\n",
    )
    project.environment["PYTEST_SANDBOX_MAX"] = "1"
    code, output = project.run("-v")
    assert code == 1
    assert "1 failed, 1 passed" in output
    message = "--sandbox-max=1 allows the run 1 sandbox at once. This test holds 1 of them and asks"
    assert message in re.sub(r"\s+", " ", output)
    assert sandboxes() == before


def test_it_is_refused_where_it_cannot_be_kept(project: Project) -> None:
    project.write("test_it.py", "def test_x(agent_workspace): pass\n")
    code, output = project.run("--sandbox-max=2", "--sandbox-engine=process")
    assert code != 0
    assert "--sandbox-max = 2 is not supported with --sandbox-engine=process" in output
