"""How an agent server is started in a container: its command, environment and ports."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable

from pydantic import SecretStr

from pytest_agent_sandbox.containers.images import Image
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.services import (
    SERVER_PORT,
    VNC_PORT,
    VSCODE_PORT,
    has_services,
    lacks_services,
)

#: The arguments of the image's entry point.
SERVER_COMMAND = ("--host", "0.0.0.0", "--port", str(SERVER_PORT))  # noqa: S104 - inside it


def server_environment(
    image: Image,
    session_key: SecretStr,
    forward_env: Iterable[str],
    extra_ports: bool,
    has_desktop: bool,
) -> dict[str, str]:
    """What the server is told at its start; the user's own variables win.

    The names are those of agent server 1.58. Tools load on first use and the price table comes
    from the package, both for a quicker start.

    Args:
        image: What it runs from.
        session_key: What its clients have to know.
        forward_env: Names of variables of this process that it gets too.
        extra_ports: Whether it starts VS Code.
        has_desktop: Whether the image starts the desktop.

    Raises:
        SettingsError: A variable of `forward_env` is not set.
    """
    forwarded = {}
    for name in forward_env:
        if name not in os.environ:
            raise SettingsError(
                f"forward_env names {name!r}, which is not set in this process's environment."
            )
        forwarded[name] = os.environ[name]
    return {
        "LOG_JSON": "true",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "OPENHANDS_SUPPRESS_BANNER": "1",
        "OH_PRELOAD_TOOLS": "false",
        "OH_ENABLE_VSCODE": _switch(extra_ports and not lacks_services(image)),
        # Of images that are not ours. Servers since 1.45 start no desktop themselves; what earlier
        # ones start lets in everybody.
        "OH_ENABLE_VNC": _switch(extra_ports and not has_services(image)),
        "AGENT_SANDBOX_DESKTOP": _switch(has_desktop),
        **forwarded,
        "OH_SESSION_API_KEYS_0": session_key.get_secret_value(),
        # Without it, 1.58 does not keep an LLM's key for a fork of the conversation.
        "OH_SECRET_KEY": secrets.token_urlsafe(32),
    }


def published_ports(host_port: int | None, extra_ports: bool) -> dict[int, int | None]:
    """The container's ports, and those of this machine; None where the engine chooses."""
    inner = [SERVER_PORT, VSCODE_PORT, VNC_PORT] if extra_ports else [SERVER_PORT]
    return {
        port: None if host_port is None else host_port + offset for offset, port in enumerate(inner)
    }


def _switch(on: bool) -> str:
    return "true" if on else "false"
