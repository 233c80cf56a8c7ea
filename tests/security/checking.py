"""Runs the checks of `checks_inside` in a sandbox of each kind: of each profile, and recycled."""

from __future__ import annotations

import json
import shlex
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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

#: This machine, as sandboxes call it.
HERE = "host.docker.internal"
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


@contextmanager
def server(words: bytes) -> Iterator[int]:
    """Say some words on a port of this machine's loopback."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1000)
            self.request.sendall(words)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield listening.server_address[1]
        finally:
            listening.shutdown()
            thread.join()


def check(engine: ContainerEngine, image: str, kind: str) -> Outcomes:
    """Tries everything in one sandbox."""
    settings = dict(KINDS[kind])
    with server(b"allowed") as port, server(b"canary") as forbidden:
        if settings.get("security") == "strict":  # which is isolated
            settings["allow"] = [f"{HERE}:{port}"]
        with DockerWorkspace(server_image=image, engine=engine, **settings) as workspace:
            workspace.write_text("checks.py", _PROGRAM.read_text("utf-8"))
            path = shlex.quote(f"{workspace.working_dir}/checks.py")
            command = f"python3 {path} {HERE} {port} {forbidden}"
            agents = workspace.execute_command(command, timeout=120).check().stdout
            api = engine.client.api
            started = api.exec_create(
                workspace.container.id, ["sh", "-c", f"{command} 2>/dev/null"], user="0"
            )
            roots = api.exec_start(started["Id"]).decode()
    return {
        (kind, user): {
            name: Outcome(is_held, words) for name, (is_held, words) in json.loads(text).items()
        }
        for user, text in zip(USERS, (agents, roots), strict=True)
    }
