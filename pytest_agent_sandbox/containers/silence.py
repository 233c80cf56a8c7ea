"""The reasons why a container says nothing, although it has not ended."""

from __future__ import annotations

from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.errors import EngineUnavailable, SandboxPaused


def explain_silence(container: Container) -> None:
    """Ask the engine, and raise where it knows why nothing in the container can answer.

    Raises:
        SandboxDied: It is gone.
        SandboxPaused: Its processes are frozen.
    """
    container.check()
    try:
        status = container.state().status
    except EngineUnavailable:
        return
    if status == "paused":
        raise SandboxPaused(
            f"Container {container.name} is paused: its processes are frozen, and answer nothing. "
            f"`resume()` of its workspace, or `docker unpause {container.name}`, lets them go on."
        )
