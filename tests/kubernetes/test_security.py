"""What can be done from inside of a pod: the attempts of docs/security-checks.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from tests.kubernetes.checking import KINDS, check
from tests.kubernetes.conftest import EngineIn
from tests.security import test_profiles as on_docker
from tests.security.checking import USERS
from tests.support.project import Project

# Root starts servers as another user and ends them: nobody else gets what that takes.
BOUND = {"come by a capability (bounding set)"}
ROOT = on_docker.CAPABILITIES | {"become root by sudo"}
OPEN: dict[tuple[str, str], set[str]] = {
    ("default", "agent"): on_docker.NETWORK | BOUND,
    ("default", "root"): on_docker.NETWORK | ROOT | on_docker.FILES,
    ("isolated", "agent"): BOUND,
    ("isolated", "root"): ROOT | on_docker.FILES,
    ("strict", "agent"): BOUND,
    ("strict", "root"): ROOT,
    ("recycled", "agent"): on_docker.NETWORK | BOUND,
    ("recycled", "root"): on_docker.NETWORK | ROOT,
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_pod_holds(engine_in: EngineIn, kind: str, tmp_path: Path) -> None:
    outcomes = check(engine_in(), kind, tmp_path)
    for user in USERS:
        found = outcomes[kind, user]
        assert len(found) > 42
        opened = {name for name, one in found.items() if not one.is_held} - on_docker.ELSEWHERE
        expected = OPEN[kind, user]
        assert opened == expected, {name: found[name].words for name in opened ^ expected}
        if kind in ("isolated", "strict"):
            assert found["reach a cloud's metadata"].is_held


def test_strict_means_what_it_means_on_docker_and_says_what_it_lacks(
    project: Project, cluster: Cluster
) -> None:
    project.write(
        "test_it.py",
        """
def test_strict(agent_workspace, agent_conversation):
    facts = agent_workspace.facts()
    assert facts["security"] == "strict"
    assert facts["network"] == "isolated, checked from inside"
    assert "memory 4294967296" in facts["limits"]
    run = agent_workspace.execute_command
    assert run("id -u").stdout.strip() != "0"
    for folder in ("/", "/etc", "/usr", "/opt"):
        assert run(f"touch {folder}/new").exit_code, folder
    for folder in (".", "/tmp", "~"):
        assert run(f"touch {folder}/new").exit_code == 0
    status = run("cat /proc/self/status").stdout
    assert "NoNewPrivs:\\t1" in status and "Seccomp:\\t2" in status
    assert "CapEff:\\t0000000000000000" in status
""",
    )
    code, output = project.run("--sandbox-security=strict", "--sandbox-isolation=recycled", "-v")
    assert code == 0
    assert (
        "strict in a pod: the number of processes is limited by its node (podPidsLimit)" in output
    )
    code, output = project.run("--sandbox-security=strict", "--sandbox-network=open")
    assert code != 0
    assert "'open' is more than a sandbox with security = strict may reach" in output
