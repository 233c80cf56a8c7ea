"""Why a sandbox does not start in a cluster, in words, within seconds."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.refusals import role
from tests.kubernetes.accounts import as_user, limited
from tests.support.project import Project
from tests.support.timing import eventually

ONE = "def test_one(agent_workspace):\n    agent_workspace.execute_command('true')\n"


def _quota(cluster: Cluster, pods: int) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"pods": str(pods)}},
    }
    cluster.request("POST", cluster.path("resourcequotas"), "create quota", body=quota)
    time.sleep(1)  # its controller has to count first


REFUSED = {
    "an image that may not be pulled": (
        ["--sandbox-image=nobody/has-this:1"],
        r"image nobody/has-this:1 .*not on the node.*--sandbox-pull=never",
    ),
    "an image that no registry has": (
        ["--sandbox-image=127.0.0.1:9/nobody/has-this:1", "--sandbox-pull=missing"],
        r"image 127\.0\.0\.1:9/nobody/has-this:1 .*cannot be pulled",
    ),
    "an image without a server": (
        ["--sandbox-image=pytest-agent-sandbox/pause:1"],
        r"pause:1 cannot be looked into|has no agent server",
    ),
    "no node with so much": (
        ["--sandbox-memory=900g", "-o", "sandbox_pod_template=large.yaml"],
        r"no node takes it: .*[Ii]nsufficient memory.*--sandbox-memory",
    ),
    "no node that is asked for": (
        ["-o", "sandbox_pod_template=nowhere.yaml"],
        r"cannot be looked into: no node takes it: .*didn't match .*--sandbox-pod-template",
    ),
    "no such context": (
        ["--sandbox-kube-context=nowhere"],
        r"--sandbox-kube-context=nowhere: no cluster can be taken",
    ),
    "no such namespace": (
        ["--sandbox-kube-namespace=nowhere"],
        r'namespaces "nowhere" not found.*--sandbox-kube-namespace',
    ),
    "a network to join": (["--sandbox-network=bridge"], r"a cluster has no networks to join"),
    "a setting of containers": (
        ["--sandbox-security=sudo"],
        r"--sandbox-security = sudo is not supported with --sandbox-engine=kubernetes",
    ),
    "a template that is none": (
        ["--sandbox-pod-template=pytest.ini"],
        r"--sandbox-pod-template=pytest.ini",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_start_says_why(
    project: Project, pods: Callable[[], list[str]], case: str
) -> None:
    project.write("test_it.py", ONE)
    large = "{cpu: 20m, memory: 900Gi}"
    text = (project.folder / "pod.yaml").read_text("utf-8")
    project.write("large.yaml", re.sub(r"\{cpu[^}]*\}", large, text))
    project.write("nowhere.yaml", "kind: Pod\nspec: {nodeSelector: {pool: nowhere}}\n")
    arguments, expected = REFUSED[case]
    began = time.monotonic()
    code, output = project.run(*arguments, "--sandbox-pool-size=0")
    assert code != 0
    assert re.search(expected, re.sub(r"\s+", " ", output)), expected
    assert time.monotonic() - began < 40
    # A Job that is gone leaves its pod to the cluster's garbage collector.
    eventually(lambda: pods() == [], 15)


def test_a_quota_that_is_used_up(project: Project, cluster: Cluster) -> None:
    _quota(cluster, 0)
    project.write("test_it.py", ONE)
    code, output = project.run("--sandbox-pool-size=0")
    assert code != 0
    assert "exceeded quota: none" in output
    assert "--sandbox-pool-size" in output


def test_who_may_not_is_told_the_role_that_is_needed(
    project: Project, cluster: Cluster, kubeconfig: str
) -> None:
    as_user(kubeconfig, limited(cluster, None), project.folder / "kubeconfig")
    project.environment["KUBECONFIG"] = str(project.folder / "kubeconfig")
    project.write("test_it.py", ONE)
    code, output = project.run()
    assert code != 0
    assert "needs the verb create on jobs" in output
    shown = output[output.index("apiVersion: rbac.authorization.k8s.io/v1") :]
    assert "pods/exec" in shown


def test_that_role_is_enough(project: Project, cluster: Cluster, kubeconfig: str) -> None:
    user = limited(cluster, role(cluster.namespace))
    as_user(kubeconfig, user, project.folder / "kubeconfig")
    project.environment["KUBECONFIG"] = str(project.folder / "kubeconfig")
    project.write("test_it.py", ONE)
    code, output = project.run("--sandbox-keep=failed")
    assert code == 0
    assert user["token"] not in output
    for file in project.folder.rglob("*"):
        if file.is_file() and file.name != "kubeconfig":
            assert user["token"] not in file.read_text("utf-8", errors="replace")


def test_an_api_server_that_is_away(project: Project, kubeconfig: str) -> None:
    found = yaml.safe_load(Path(kubeconfig).read_text("utf-8"))
    found["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    (project.folder / "kubeconfig").write_text(json.dumps(found), "utf-8")
    project.environment["KUBECONFIG"] = str(project.folder / "kubeconfig")
    project.write("test_it.py", ONE)
    code, output = project.run()
    assert code != 0
    assert "The cluster at https://127.0.0.1:9 cannot be reached" in output


def test_room_that_the_run_itself_takes_is_waited_for(project: Project, cluster: Cluster) -> None:
    _quota(cluster, 4)  # two keepers, and two more for all workers
    project.write(
        "test_it.py",
        """
import pytest, time
@pytest.mark.parametrize("number", range(6))
def test_one(agent_workspace, number):
    agent_workspace.execute_command("sleep 1").check()
""",
    )
    code, output = project.run("-n", "2", "--sandbox-pool-size=1")
    assert code == 0
    assert "6 passed" in output
