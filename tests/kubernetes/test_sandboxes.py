"""What users do with sandboxes, as pods of a real cluster."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.keeper import GRACE
from tests.support.project import Project
from tests.support.timing import eventually

EXAMPLES = Path(__file__).parents[2] / "examples"
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "pods.py"

MAIN = """
import pytest
from pytest_agent_sandbox import say, tool
from pytest_agent_sandbox.errors import ServiceUnavailable

def test_files(agent_workspace):
    agent_workspace.write_text("data.txt", "x" * 100_000)
    assert agent_workspace.execute_command("wc -c < data.txt").stdout.strip() == "100000"
    found = agent_workspace.execute_command("id -un; pwd; ls -A /var/run/secrets 2>&1 || true")
    assert found.stdout.split()[:2] == ["openhands", "/workspace/project"]
    assert "kubernetes.io" not in found.stdout
    for refused in (agent_workspace.vscode_url, agent_workspace.vnc_url, agent_workspace.services,
                    agent_workspace.record_desktop, agent_workspace.pause):
        with pytest.raises(ServiceUnavailable, match="a pod .* with --sandbox-engine=docker"):
            refused()
    with pytest.raises(AttributeError, match="no 'container': .* with --sandbox-engine=docker"):
        agent_workspace.container

@pytest.mark.agent_trials(n=3, pass_rate=0.5)
def test_tries(agent_workspace, agent_conversation, agent_trial):
    name = f"{agent_trial}.txt"
    conversation = agent_conversation(
        script=[tool("terminal", command=f"ls; touch {name}"), say("done")])
    conversation.send_message("Go.")
    conversation.run(timeout=60)
    assert agent_workspace.execute_command("ls").stdout.split() == [name]
    assert agent_trial != 2

@pytest.mark.agent_sandbox(network="isolated")
def test_isolated(agent_workspace, agent_conversation):
    conversation = agent_conversation(script=[
        tool("terminal", command="curl -sS -m 3 http://1.1.1.1; "
             "python3 -c 'import socket; socket.create_connection((\\"1.1.1.1\\", 53), 2)'"),
        say("done")])
    conversation.send_message("Go.")
    conversation.run(timeout=60)
    assert "Network is unreachable" in agent_workspace.execute_command(
        "python3 -c 'import socket; socket.create_connection((\\"1.1.1.1\\", 53), 2)'").stderr
    raised = agent_workspace.execute_command("ip link set eth0 up || ifconfig eth0 up")
    assert raised.exit_code != 0
    assert "checked from inside" in agent_workspace.facts()["network"]
"""


def test_the_plugins_areas_and_the_examples(
    project: Project, pods: Callable[[], list[str]]
) -> None:
    """Workspace, conversation, trials, isolation, recycling, services, evidence; as on Docker."""
    project.write("test_it.py", MAIN)
    examples = sorted(EXAMPLES.glob("test_*.py")) + sorted(EXAMPLES.glob("failing/test_*.py"))
    assert len(examples) == 3
    for file in examples:
        project.write(file.name, file.read_text("utf-8"))
    flags = ("--sandbox-isolation=recycled", "--sandbox-pod-template=pod.yaml")
    code, output = project.run("-v", "-n", "2", *flags)
    assert code == 1
    # Two trials passed, and one more failed, which is tolerated.
    assert re.search(r"= 1 failed, 6 passed, 1 xfailed", output)
    assert "test_it.py::test_tries: PASSED: 2 of 3 trials passed" in output
    assert "on Kubernetes v1.20" in output
    assert re.search(r"sandboxes started .*, [1-9]\d* reused", output)
    _, tolerated = sorted(project.results, key=lambda folder: "tries" in folder.name)
    assert "test_tries-trial2" in tolerated.name
    (folder,) = set(project.results) - {tolerated}
    assert "deleted   LICENSE" in output
    assert re.search(
        r"^again: pytest test_fails_on_purpose.py::.*" + re.escape(flags[1]), output, re.M
    )
    assert "rm LICENSE" in (folder / "transcript.html").read_text("utf-8")
    assert "Uvicorn running" in (folder / "container.log").read_text("utf-8")
    sandbox = json.loads((folder / "result.json").read_text("utf-8"))["sandboxes"][0]
    assert sandbox["engine"].startswith("Kubernetes v1.20")
    assert sandbox["container"].startswith("agent-sandbox")
    assert sandbox["state"] == "running"
    eventually(lambda: pods() == [], 15)


def test_a_killed_run_leaves_nothing_and_what_is_kept_stays_without_an_owner(
    project: Project, cluster: Cluster, pods: Callable[[], list[str]]
) -> None:
    """Joined: the other run passes while the keeper of the killed one finds that out."""
    project.write(
        "test_it.py",
        """
import os, signal
def test_killed(agent_workspace):
    os.kill(os.getpid(), signal.SIGKILL)

def test_kept(agent_workspace):
    assert False
""",
    )
    code, _ = project.run("-k", "test_killed")
    assert code == -9
    until = time.monotonic() + GRACE + 30
    left = set(pods())
    assert left
    code, output = project.run("-k", "test_kept", "--sandbox-keep=failed", "-v")
    assert code == 1
    eventually(lambda: len(set(pods()) - left) == 1, 15)
    while left & set(pods()):
        assert time.monotonic() < until
        time.sleep(1)
    (name,) = pods()
    pod = cluster.get(cluster.path("pods", name))
    assert not pod["metadata"].get("ownerReferences")
    assert pod["status"]["phase"] == "Running"
    assert re.search(rf"kubectl .*exec -it {name} -- bash", output)
    (told,) = re.findall(r"1 sandbox was kept; `(agent-sandbox prune .*)` ends all", output)
    assert f"end it    {told} {name}\n" in output
    arguments = shlex.split(told)[1:]
    subprocess.run([sys.executable, "-m", "pytest_agent_sandbox.cli", *arguments, "-y"], check=True)
    assert pods() == []


def test_a_deleted_pod_ends_its_test_at_once_and_keys_are_nowhere(project: Project) -> None:
    project.write(
        "test_it.py",
        """
import json, threading, time
import pytest
from pytest_agent_sandbox import SandboxDied
from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.credentials import read_credentials
from pytest_agent_sandbox.engines.kubernetes.pod_requests import delete_pod

def test_keys(agent_workspace):
    keys = agent_workspace.sandbox.keys
    assert agent_workspace.execute_command("true").exit_code == 0
    with Cluster(read_credentials(None, agent_workspace.pod._cluster.namespace)) as cluster:
        shown = json.dumps(cluster.get(cluster.path("pods")))
        shown += json.dumps(cluster.get(cluster.path("events")))
    assert agent_workspace.name in shown
    shown += agent_workspace.log_tail(10_000)
    for key in (keys.session, keys.secret):
        assert key.get_secret_value() not in shown

def test_deleted(agent_workspace):
    pod = agent_workspace.pod
    threading.Timer(1, delete_pod, [pod._cluster, pod.name]).start()
    began = time.monotonic()
    with pytest.raises(SandboxDied, match="deleted by somebody else"):
        agent_workspace.execute_command("sleep 60", timeout=60)
    assert time.monotonic() - began < 8

def test_out_of_memory(agent_workspace):
    with pytest.raises(SandboxDied) as caught:
        for _ in range(20):
            agent_workspace.execute_command(
                "kill -9 $(ps -eo pid,user,args | awk '/agent-server/ && /openhan/ {print $1}')",
                timeout=20)
    assert caught.value.exit_code == 137
    assert "code 137" in str(caught.value)

def test_the_next_one_goes_on(agent_workspace):
    assert agent_workspace.execute_command("true").exit_code == 0
""",
    )
    code, _ = project.run()
    assert code == 0


def test_the_benchmark_runs(tmp_path: Path, kubeconfig: str) -> None:
    file = tmp_path / "result.json"
    subprocess.run(
        [sys.executable, str(BENCHMARK), "--quick", "--json", str(file)],
        env={**os.environ, "KUBECONFIG": kubeconfig},
        check=True,
    )
    compared = json.loads(file.read_text("utf-8"))["comparisons"]
    assert {"start, pod / bare pod", "request, pod - Docker (ms)"} <= compared.keys()


def test_a_recycled_pod_shows_nothing_of_what_was_before(project: Project) -> None:
    project.write(
        "test_it.py",
        """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_next(agent_workspace, number):
    look = ("ls -A /tmp /var/tmp ~ /workspace/project | sort; wc -c < /dev/termination-log; "
            "ps -eo user,args | grep -c '[s]leep 600'; id -un; touch /etc/x || true")
    seen = agent_workspace.execute_command(look)
    assert "0" in seen.stdout.split()
    assert "left" not in seen.stdout
    assert "openhands" in seen.stdout
    assert "Read-only file system" in seen.stderr
    print("POD", agent_workspace.name, agent_workspace.facts().get("used by tests"))
    agent_workspace.execute_command(
        "touch ~/left /tmp/left left; echo left > /dev/termination-log; "
        "(trap '' TERM; sleep 600) > /dev/null 2>&1 &")
""",
    )
    code, output = project.run("-v", "-rP", "--sandbox-isolation=recycled", "--sandbox-pool-size=0")
    assert code == 0
    assert len(set(re.findall(r"^POD (\S+)", output, re.M))) == 1
    assert re.search(r"1 sandbox started .*, 2 reused", output)
    assert "thrown away" not in output
