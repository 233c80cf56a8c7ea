"""Room in a cluster: who waits for it gets what others have started ahead."""

from __future__ import annotations

import time
from collections.abc import Callable

from pytest_agent_sandbox.engines.engine import SandboxRequest
from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.labels import SANDBOX
from tests.kubernetes.conftest import EngineIn
from tests.support.project import RUN_TIMEOUT, Project
from tests.support.timing import eventually


def quota(cluster: Cluster, pods: int) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"pods": str(pods)}},
    }
    cluster.request("POST", cluster.path("resourcequotas"), "create quota", body=body)
    time.sleep(1)  # its controller has to count first


def sandboxes(cluster: Cluster) -> list[str]:
    """The names of the pods that are sandboxes, and not those that look at an image."""
    found = cluster.get(cluster.path("pods"), labelSelector=f"{SANDBOX}=true")["items"]
    return [name for one in found if "-look-" not in (name := one["metadata"]["name"])]


def test_a_quota_full_of_warm_ones_starves_nobody(
    project: Project, cluster: Cluster, pods: Callable[[], list[str]]
) -> None:
    quota(cluster, 5)  # two keepers, and three sandboxes for two workers
    project.write(
        "test_it.py",
        """
import os, pathlib, time
import pytest

@pytest.mark.xdist_group("hoards")
@pytest.mark.parametrize("number", range(3))
def test_hoards(agent_workspace, number):
    if number == 0:
        until = time.monotonic() + 60
        while not pathlib.Path("second").exists():
            assert time.monotonic() < until, "the other worker is starved"
            time.sleep(0.1)

@pytest.mark.xdist_group("starves")
def test_starves(agent_workspace_factory):
    until = time.monotonic() + 60
    while not pathlib.Path("full").exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    with agent_workspace_factory() as workspace:
        assert workspace.alive()
    pathlib.Path("second").touch()
""",
    )
    options = ("-n", "2", "--dist=loadgroup", "--sandbox-pool-size=2")
    with project.start(*options, "--sandbox-start-timeout=30") as running:
        # Until the quota is full of what is started ahead for the others.
        eventually(lambda: len(sandboxes(cluster)) == 3 or running.poll() is not None, 60)
        (project.folder / "full").touch()
        output, _ = running.communicate(timeout=RUN_TIMEOUT)
    assert running.returncode == 0, output
    assert "4 passed" in output
    eventually(lambda: pods() == [], 15)


def test_the_run_has_no_more_pods_than_allowed(
    project: Project, cluster: Cluster, pods: Callable[[], list[str]]
) -> None:
    project.write(
        "test_it.py",
        "import pytest\n@pytest.mark.parametrize('number', range(2))\n"
        "def test_one(agent_workspace, number): assert agent_workspace.alive()\n",
    )
    running = project.start("-n", "2", "--sandbox-max=1", "-q")
    most = 0
    with running:
        while running.poll() is None:
            most = max(most, len(sandboxes(cluster)))
            time.sleep(0.1)
    assert running.returncode == 0
    assert most == 1
    eventually(lambda: pods() == [], 15)


def test_what_nobody_has_asked_for_is_not_waited_for(engine_in: EngineIn, cluster: Cluster) -> None:
    engine = engine_in()
    settings = engine.context.settings
    request = SandboxRequest(settings=settings, image=settings.image or "")
    with engine.start(request):
        quota(cluster, 2)  # the keeper, and this one
        engine._sandboxes._pool.size = 1
        engine.prepare([request.for_anybody()])
        began = time.monotonic()
        (entry,) = engine._sandboxes._pool._entries
        error = entry.future.exception(timeout=20)
        assert type(error).__name__ == "NoRoomAheadError"
        assert time.monotonic() - began < 5
