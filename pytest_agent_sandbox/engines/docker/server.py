"""How an agent server is started in a container: its command, environment and ports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import SecretStr

from pytest_agent_sandbox.client import versions
from pytest_agent_sandbox.containers.images import FULL_TARGET, TARGET_LABEL, Image, server_version
from pytest_agent_sandbox.containers.template import Server
from pytest_agent_sandbox.engines.docker.services import (
    VNC_PORT,
    VSCODE_PORT,
    has_services,
    lacks_services,
)
from pytest_agent_sandbox.sandbox.agent_server import (
    SERVER_PORT,
    SERVER_SETTINGS,
    secret_environment,
)

# What variables begin with that a server reads at its start.
_OF_THE_START = ("OH_", "OPENHANDS_", "LOG_", "LITELLM_", "PYTHON", "AGENT_SANDBOX_")
# What variables begin with that Python, or the C library, reads when a process starts.
_OF_A_PROCESS = ("PYTHON", "LD_", "LC_", "LANG", "TZ", "MALLOC_", "GLIBC_")

#: The arguments of the image's entry point.
SERVER_COMMAND = ("--host", "0.0.0.0", "--port", str(SERVER_PORT))  # noqa: S104 - inside it

_MODULE = "openhands.agent_server"
# The entry point of our full images starts the desktop too, if that is asked for, before this.
_OUR_ENTRYPOINT = ("/agent-server/.venv/bin/python", "-m", _MODULE)
# First processes that only look after the second one.
_INITS = ("tini", "dumb-init", "docker-init", "catatonit")
# Of 1.58. Routers read no configuration when they are loaded, the module that serves them does.
_IMPORTS_OF = (f"{_MODULE}.api",)
# What a server loads when it begins to serve.
_ALSO = (
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.loops.asyncio",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.wsproto_impl",
    "posthog",
    "openhands.tools.browser_use.impl",
)
# What it loads with its first conversation.
_LATER = (
    "openhands.tools.preset.default",
    "anyio._backends._asyncio",
    "litellm.integrations.prometheus_services",
    "litellm.llms.litellm_proxy.chat.transformation",
    "litellm.llms.openai.chat.gpt_audio_transformation",
    "litellm.llms.openai_like.dynamic_config",
    "litellm.llms.vertex_ai.vertex_ai_partner_models.anthropic.transformation",
    "litellm.responses.mcp.chat_completions_handler",
    "openai.lib.streaming.chat",
    "openai.resources",
)

# What it takes for the time of its start, and of its last work.
_CLOCKS = tuple(
    f"{_MODULE}.server_details_router:{name}" for name in ("_start_time", "_last_event_time")
)
# What opens it, and what it has encrypted.
_KEYS = tuple(secret_environment(SecretStr(""), SecretStr("")))


def forked_server(image: Image) -> Server:
    """Return how the image's server is forked, or started anew where it is no Python program."""
    entry = image.entrypoint
    if image.labels.get(TARGET_LABEL) == FULL_TARGET:
        entry = _OUR_ENTRYPOINT
    elif entry and entry[0].rpartition("/")[2] in _INITS:
        entry = entry[entry.index("--") + 1 :] if "--" in entry else entry[1:]
    words = (*entry, *SERVER_COMMAND)
    place = entry.index("-m") if "-m" in entry else -1
    if place < 1 or entry[place + 1 : place + 2] != (_MODULE,):
        return Server(words)
    return Server(
        words,
        entry[:place],
        _MODULE,
        imports_of=_IMPORTS_OF,
        also=_ALSO,
        later=_LATER,
        clocks=_CLOCKS,
        keeps=_KEYS,
        package=_MODULE,
    )


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


def of_the_process(variables: Mapping[str, str]) -> dict[str, str]:
    """Return those variables that a process has to be started with, to have an effect."""
    return {name: value for name, value in variables.items() if name.startswith(_OF_A_PROCESS)}


def published_ports(host_port: int | None, extra_ports: bool) -> dict[int, int | None]:
    """Return the container's ports with this machine's; None where the engine chooses."""
    inner = [SERVER_PORT, VSCODE_PORT, VNC_PORT] if extra_ports else [SERVER_PORT]
    return {
        port: None if host_port is None else host_port + offset for offset, port in enumerate(inner)
    }


def _switch(on: bool) -> str:
    return "true" if on else "false"
