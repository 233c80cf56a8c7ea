"""How an agent server is started in a container: its command, environment and ports."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from pydantic import SecretStr

from pytest_agent_sandbox.client import versions
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.containers.images import Image, server_version
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.services import (
    SERVER_PORT,
    VNC_PORT,
    VSCODE_PORT,
    has_services,
    lacks_services,
)

# Seconds for a dormant server to begin its work, which takes 0.05.
_WAKE_TIMEOUT = 10.0
# What variables begin with that a server reads at its start.
_OF_THE_START = ("OH_", "OPENHANDS_", "LOG_", "LITELLM_", "PYTHON", "AGENT_SANDBOX_")

#: What has a server wait for `wake`; nothing else can be asked of it.
DORMANT = {"OH_DEFERRED_INIT": "true"}
#: What a server is told wherever it runs. The names are those of agent server 1.58. Tools load on
#: first use and the price table comes from the package, both for a quicker start.
SERVER_SETTINGS = {
    "LOG_JSON": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENHANDS_SUPPRESS_BANNER": "1",
    "OH_PRELOAD_TOOLS": "false",
    # Of ACP agents. They are given a conversation's skills, as in the published image; a turn that
    # failed is the test's to see, not to be tried again for a minute; and most of them never tell
    # what they used, which the server waits for.
    "OH_ACP_SKILL_SOURCING": "openhands_managed",
    "ACP_PROMPT_MAX_RETRIES": "0",
    "ACP_USAGE_UPDATE_TIMEOUT": "0.2",
}
#: The arguments of the image's entry point.
SERVER_COMMAND = ("--host", "0.0.0.0", "--port", str(SERVER_PORT))  # noqa: S104 - inside it


def server_environment(image: Image, *, extra_ports: bool, has_desktop: bool) -> dict[str, str]:
    """What the server is told at its start, secrets apart.

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


def forwarded(names: Iterable[str]) -> dict[str, str]:
    """These variables of this process, which win over what the server is told otherwise.

    Raises:
        SettingsError: One is not set.
    """
    names = list(names)
    for name in names:
        if name not in os.environ:
            raise SettingsError(
                f"forward_env names {name!r}, which is not set in this process's environment."
            )
    return {name: os.environ[name] for name in names}


def secret_environment(session_key: SecretStr, secret_key: SecretStr) -> dict[str, str]:
    """What only the server and its clients know.

    Args:
        session_key: What its clients have to show.
        secret_key: What it encrypts with. Without it, 1.58 does not keep an LLM's key for a fork of
            the conversation.
    """
    return {
        "OH_SESSION_API_KEYS_0": session_key.get_secret_value(),
        "OH_SECRET_KEY": secret_key.get_secret_value(),
    }


def can_be_dormant(image: Image, variables: Iterable[str]) -> bool:
    """Whether a server can be up before it knows these variables.

    Not every version can. What concerns its start it has to know then.
    """
    version = server_version(image)
    return (
        bool(version)
        and versions.has(version, versions.DORMANT_START)
        and not any(name.upper().startswith(_OF_THE_START) for name in variables)
    )


def wake(connection: ServerConnection, secret_key: SecretStr, variables: Mapping[str, str]) -> None:
    """Gives a dormant server variables, for it and all that it starts, and has it begin its work.

    Raises:
        ServerError: It refused, or does not answer.
    """
    connection.request(
        "POST",
        "/api/init",
        headers={"X-Init-API-Key": secret_key.get_secret_value()},
        json={"env": dict(variables)},
        timeout=_WAKE_TIMEOUT,
    )


def published_ports(host_port: int | None, extra_ports: bool) -> dict[int, int | None]:
    """The container's ports, and those of this machine; None where the engine chooses."""
    inner = [SERVER_PORT, VSCODE_PORT, VNC_PORT] if extra_ports else [SERVER_PORT]
    return {
        port: None if host_port is None else host_port + offset for offset, port in enumerate(inner)
    }


def _switch(on: bool) -> str:
    return "true" if on else "false"
