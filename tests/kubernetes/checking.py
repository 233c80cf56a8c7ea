"""Runs the checks of docs/security-checks.md in a pod of each kind."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_agent_sandbox.engines.engine import SandboxRequest
from pytest_agent_sandbox.engines.kubernetes.engine import KubernetesEngine
from pytest_agent_sandbox.engines.kubernetes.workspace import KubernetesWorkspace
from tests.security import checking
from tests.security.checking import HERE, USERS, Outcome, Outcomes, server

#: The kinds of pods, with what makes them.
KINDS: dict[str, dict[str, Any]] = {
    "default": {},
    "isolated": {"network": "isolated"},
    "strict": {"security": "strict"},
    "recycled": {"isolation": "recycled"},
}
_PROGRAM = Path(checking.__file__).with_name("checks_inside.py")


def check(kubernetes: KubernetesEngine, kind: str, folder: Path) -> Outcomes:
    """Tries everything in one pod."""
    settings = replace(kubernetes.context.settings, **KINDS[kind])
    with server(b"allowed") as port, server(b"canary") as forbidden:
        if kind in ("isolated", "strict"):
            settings = replace(settings, allow=(f"{HERE}:{port}",))
        request = SandboxRequest(
            settings=settings,
            image=kubernetes.choose_image(settings),
            log_path=folder / "server.log",
        )
        with kubernetes.start(request) as workspace:
            assert isinstance(workspace, KubernetesWorkspace)
            workspace.write_text("checks.py", _PROGRAM.read_text("utf-8"))
            command = f"python3 {workspace.working_dir}/checks.py {HERE} {port} {forbidden}"
            agents = workspace.execute_command(command, timeout=120).check().stdout
            texts = (agents, _as_root(workspace, command))
    return {
        (kind, user): {
            name: Outcome(is_held, words) for name, (is_held, words) in json.loads(text).items()
        }
        for user, text in zip(USERS, texts, strict=True)
    }


def _as_root(workspace: KubernetesWorkspace, command: str) -> str:
    words = ["sh", "-c", f"{command} 2>/dev/null"]
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
