"""Runs the checks of `checks_inside` in a sandbox of each kind: of each profile, and recycled."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_agent_sandbox import DockerWorkspace
from pytest_agent_sandbox.containers.engine import ContainerEngine

#: The kinds of sandboxes, with what makes them.
KINDS: dict[str, dict[str, Any]] = {
    "default": {},
    "strict": {"security": "strict"},
    "sudo": {"security": "sudo"},
    "recycled": {"isolation": "recycled"},
}
#: Whose processes try: the agent's, and root's, who is let in by the engine.
USERS = ("agent", "root")

_PROGRAM = Path(__file__).with_name("checks_inside.py")


@dataclass(frozen=True)
class Outcome:
    """What became of one attempt.

    Attributes:
        is_held: Whether the sandbox held.
        words: The reason, or what was got.
    """

    is_held: bool
    words: str


#: By kind and user: the outcomes by the name of the attempt.
Outcomes = dict[tuple[str, str], dict[str, Outcome]]


def check(engine: ContainerEngine, image: str, kind: str) -> Outcomes:
    """Tries everything in one sandbox."""
    with DockerWorkspace(server_image=image, engine=engine, **KINDS[kind]) as workspace:
        workspace.write_text("checks.py", _PROGRAM.read_text("utf-8"))
        agents = workspace.execute_command("python3 checks.py", timeout=120).check().stdout
        path = shlex.quote(f"{workspace.working_dir}/checks.py")
        api = engine.client.api
        started = api.exec_create(
            workspace.container.id, ["sh", "-c", f"python3 {path} 2>/dev/null"], user="0"
        )
        roots = api.exec_start(started["Id"]).decode()
    return {
        (kind, user): {
            name: Outcome(is_held, words) for name, (is_held, words) in json.loads(text).items()
        }
        for user, text in zip(USERS, (agents, roots), strict=True)
    }
