"""How a person gets into a sandbox that is still there: addresses and commands."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_agent_sandbox.containers.cleanup import KEPT_PREFIX
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.image_names import (
    FULL_TARGET,
    LABEL_PREFIX,
    MINIMAL_TARGET,
    TARGET_LABEL,
)
from pytest_agent_sandbox.engines.docker.plan import (
    ANY_TEST,
    TEST_LABEL,
    USER_LABEL,
    WORKING_DIR_LABEL,
)
from pytest_agent_sandbox.engines.docker.services import (
    VNC_PORT,
    VSCODE_PORT,
    answers,
    desktop_address,
    vscode_address,
)
from pytest_agent_sandbox.host.ci import is_in_ci

_KEY_VARIABLE = "OH_SESSION_API_KEYS_0"
# Seconds in which services of a sandbox that has just started come up.
_PATIENCE = 10.0
_PAUSE = 0.1


def ways_in(engine: ContainerEngine, container: str) -> list[str]:
    """Return lines that say how to look into a sandbox, and how to end one that was kept.

    Its addresses hold its session key, and let in whoever reads them. In CI, whose logs many
    people read, they are left out.

    Args:
        engine: The container's engine.
        container: Its name.

    Raises:
        SandboxError: There is no such container, or the engine does not answer.
    """
    with engine.calling(f"show container {container}"):
        found = engine.client.api.inspect_container(container)
    return [f"  {title:<9} {text}" for title, text in _ways(found)]


def test_of(engine: ContainerEngine, container: str) -> str:
    """Return the test that a container was kept for; its name says so where it served any.

    Raises:
        SandboxError: There is no such container, or the engine does not answer.
    """
    with engine.calling(f"show container {container}"):
        labels = engine.client.api.inspect_container(container)["Config"]["Labels"] or {}
    test = str(labels.get(f"{LABEL_PREFIX}{TEST_LABEL}", ""))
    return container.removeprefix(KEPT_PREFIX).rpartition("-")[0] if test == ANY_TEST else test


def _ways(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    name = str(found["Name"]).lstrip("/")
    labels = found["Config"]["Labels"] or {}
    folder = str(labels.get(f"{LABEL_PREFIX}{WORKING_DIR_LABEL}", "/"))
    yield "container", f"{name}, of {found['Config']['Image']}"
    if found["State"]["Running"]:
        user = labels.get(f"{LABEL_PREFIX}{USER_LABEL}")
        option = f"-u {user} " if user else ""
        yield "shell", f"docker exec -it {option}-w {shlex.quote(folder)} {name} bash"
        yield from _addresses(found, folder)
    else:
        yield "ended", f"with exit code {found['State']['ExitCode']}"
        yield "log", f"docker logs {name}"
        yield "files", f"docker cp {shlex.quote(f'{name}:{folder}')} ."
    if name.startswith(KEPT_PREFIX):
        yield "end it", f"agent-sandbox prune {name}"


def _addresses(found: Mapping[str, Any], folder: str) -> Iterator[tuple[str, str]]:
    target = (found["Config"]["Labels"] or {}).get(TARGET_LABEL)
    if target == MINIMAL_TARGET:
        yield "VS Code", "and desktop: in an image of `agent-sandbox build --target source`"
        return
    key = _key(found)
    titles = {"VS Code": VSCODE_PORT, "desktop": VNC_PORT}
    for title, inner in titles.items():
        bindings = (found["NetworkSettings"].get("Ports") or {}).get(f"{inner}/tcp")
        if not bindings:
            continue
        port = int(bindings[0]["HostPort"])
        address = (
            vscode_address(port, key, folder)
            if inner == VSCODE_PORT
            else desktop_address(port, key, scale=True)
        )
        patience = _PATIENCE if target == FULL_TARGET else 0.0
        if _comes_up(port, patience):
            yield title, "not shown in CI, for its key" if is_in_ci(os.environ) else address
        elif target == FULL_TARGET:
            yield title, f"does not answer on port {port}"


def _key(found: Mapping[str, Any]) -> str:
    for variable in found["Config"]["Env"] or ():
        name, _, value = str(variable).partition("=")
        if name == _KEY_VARIABLE:
            return value
    return ""


def _comes_up(port: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not answers(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True
