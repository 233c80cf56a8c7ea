"""What can be done from inside of a pod: the attempts of docs/security-checks.md."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_agent_sandbox.engines.engine import SandboxRequest
from pytest_agent_sandbox.engines.kubernetes.workspace import KubernetesWorkspace
from tests.kubernetes.conftest import EngineIn
from tests.security import test_profiles as on_docker

PROGRAM = Path(on_docker.__file__).with_name("checks_inside.py")
# Root starts servers as another user and ends them: nobody else gets what that takes.
OPEN = {
    "agent": {"come by a capability (bounding set)"},
    "root": on_docker.CAPABILITIES | on_docker.FILES | {"become root by sudo"},
}


@pytest.mark.parametrize("network", ["open", "isolated"])
def test_what_a_pod_holds(engine_in: EngineIn, network: str, tmp_path: Path) -> None:
    kubernetes = engine_in()
    settings = replace(kubernetes.context.settings, network=network)
    request = SandboxRequest(
        settings=settings, image=settings.image or "", log_path=tmp_path / "server.log"
    )
    with kubernetes.start(request) as workspace:
        assert isinstance(workspace, KubernetesWorkspace)
        workspace.write_text("checks.py", PROGRAM.read_text("utf-8"))
        agents = workspace.execute_command("python3 checks.py", timeout=120).check().stdout
        found = {"agent": agents, "root": _as_root(workspace)}
    for user, told in found.items():
        outcomes = json.loads(told)
        assert len(outcomes) > 42
        opened = {name for name, (is_held, _) in outcomes.items() if not is_held}
        expected = OPEN[user] | (on_docker.NETWORK if network == "open" else set())
        shown = {name: outcomes[name] for name in opened - expected}
        assert opened - on_docker.ELSEWHERE == expected, shown
        if network == "isolated":
            assert outcomes["reach a cloud's metadata"][0]


def _as_root(workspace: KubernetesWorkspace) -> str:
    words = ["sh", "-c", f"python3 {workspace.working_dir}/checks.py 2>/dev/null"]
    stream = workspace.pod._cluster.exec(workspace.name, "server", words, timeout=10)
    printed = b""
    until = time.monotonic() + 60
    try:
        while time.monotonic() < until:
            printed += stream.receive(30)[1]
    except ConnectionError:
        return printed.decode()
    finally:
        stream.close()
    raise AssertionError("it does not end")
