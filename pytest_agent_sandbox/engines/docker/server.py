"""How an agent server is started in a container: its command, environment and ports."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_agent_sandbox.client import versions
from pytest_agent_sandbox.containers.image_names import FULL_TARGET, TARGET_LABEL
from pytest_agent_sandbox.containers.images import Image, server_version
from pytest_agent_sandbox.containers.template import Server
from pytest_agent_sandbox.engines.docker.services import (
    VNC_PORT,
    VSCODE_PORT,
    has_services,
    lacks_services,
)
from pytest_agent_sandbox.sandbox.agent_server import SERVER_PORT, SERVER_SETTINGS
from pytest_agent_sandbox.sandbox.server_process import MODULE, OUR_PYTHON, server_of

# What variables begin with that a server reads at its start.
_OF_THE_START = ("OH_", "OPENHANDS_", "LOG_", "LITELLM_", "PYTHON", "AGENT_SANDBOX_")
# The entry point of our full images starts the desktop too, if that is asked for, before this.
_OUR_ENTRYPOINT = (OUR_PYTHON, "-m", MODULE)


def forked_server(image: Image) -> Server:
    """Return how the image's server is forked, or started anew where it is no Python program."""
    is_full = image.labels.get(TARGET_LABEL) == FULL_TARGET
    return server_of(_OUR_ENTRYPOINT if is_full else image.entrypoint)


def server_environment(image: Image, *, extra_ports: bool, has_desktop: bool) -> dict[str, str]:
    """Return what the server is told at its start, secrets apart.

    Args:
        image: What it runs from.
        extra_ports: Whether it starts VS Code.
        has_desktop: Whether the image starts the desktop.
    """
    return {
        **SERVER_SETTINGS,
        "OH_ENABLE_VSCODE": _switch(extra_ports and not lacks_services(image)),
        # Of images that are not ours. Servers since 1.45 start no desktop themselves; what earlier
        # ones start lets in everybody.
        "OH_ENABLE_VNC": _switch(extra_ports and not has_services(image)),
        "AGENT_SANDBOX_DESKTOP": _switch(has_desktop),
    }


def can_be_dormant(image: Image, variables: Iterable[str]) -> bool:
    """Tell whether a server can be up before it knows these variables.

    Not every version can. What concerns its start it has to know then.
    """
    version = server_version(image)
    return (
        bool(version)
        and versions.has(version, versions.DORMANT_START)
        and not any(name.upper().startswith(_OF_THE_START) for name in variables)
    )


def published_ports(host_port: int | None, extra_ports: bool) -> dict[int, int | None]:
    """Return the container's ports with this machine's; None where the engine chooses."""
    inner = [SERVER_PORT, VSCODE_PORT, VNC_PORT] if extra_ports else [SERVER_PORT]
    return {
        port: None if host_port is None else host_port + offset for offset, port in enumerate(inner)
    }


def _switch(on: bool) -> str:
    return "true" if on else "false"
