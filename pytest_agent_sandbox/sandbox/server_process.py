"""How an agent server is forked by the first process of its container."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import SecretStr

from pytest_agent_sandbox.containers.template import Server
from pytest_agent_sandbox.sandbox.agent_server import SERVER_PORT, secret_environment

# What variables begin with that Python, or the C library, reads when a process starts.
_OF_A_PROCESS = ("PYTHON", "LD_", "LC_", "LANG", "TZ", "MALLOC_", "GLIBC_")

#: The arguments of the image's entry point.
SERVER_COMMAND = ("--host", "0.0.0.0", "--port", str(SERVER_PORT))  # noqa: S104 - inside it

#: The Python of images that `agent-sandbox build` makes, and of upstream's with the source.
OUR_PYTHON = "/agent-server/.venv/bin/python"
#: The module of the agent server.
MODULE = "openhands.agent_server"
# First processes that only look after the second one.
_INITS = ("tini", "dumb-init", "docker-init", "catatonit")
# Of 1.58. Routers read no configuration when they are loaded, the module that serves them does.
_IMPORTS_OF = (f"{MODULE}.api",)
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
    f"{MODULE}.server_details_router:{name}" for name in ("_start_time", "_last_event_time")
)
# What opens it, and what it has encrypted.
_KEYS = tuple(secret_environment(SecretStr(""), SecretStr("")))


def server_of(entry: Sequence[str]) -> Server:
    """Return how a server is forked, or started anew where it is no Python program.

    Args:
        entry: The entry point of its image.
    """
    entry = tuple(entry)
    if entry and entry[0].rpartition("/")[2] in _INITS:
        entry = entry[entry.index("--") + 1 :] if "--" in entry else entry[1:]
    words = (*entry, *SERVER_COMMAND)
    place = entry.index("-m") if "-m" in entry else -1
    if place < 1 or entry[place + 1 : place + 2] != (MODULE,):
        return Server(words)
    return Server(
        words,
        entry[:place],
        MODULE,
        imports_of=_IMPORTS_OF,
        also=_ALSO,
        later=_LATER,
        clocks=_CLOCKS,
        keeps=_KEYS,
        package=MODULE,
    )


def of_the_process(variables: Mapping[str, str]) -> dict[str, str]:
    """Return those variables that a process has to be started with, to have an effect."""
    return {name: value for name, value in variables.items() if name.startswith(_OF_A_PROCESS)}
