"""Agents that speak the Agent Client Protocol, started in the sandbox by the agent server.

The server (`ACPAgent` in openhands-sdk 1.58) starts the command, talks to it over its standard
input and output, allows whatever it asks permission for, and tells its tool calls as events.
See https://agentclientprotocol.com
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from pytest_agent_sandbox.errors import SettingsError

_KIND = "ACPAgent"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ACPAgent(BaseModel):
    """An agent of the Agent Client Protocol, as the server wants it described: see `acp_agent`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str = _KIND
    acp_command: list[str]
    acp_model: str | None = None
    acp_session_mode: str | None = None
    acp_startup_timeout: float
    acp_prompt_timeout: float


def acp_agent(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    model: str | None = None,
    session_mode: str | None = None,
    startup_timeout: float = 90.0,
    idle_timeout: float = 1800.0,
    **extra: Any,
) -> ACPAgent:
    """Describe an agent of the Agent Client Protocol (ACP) that runs in the sandbox.

    Example:
        ```python
        agent = acp_agent(["npx", "-y", "@agentclientprotocol/codex-acp"])
        conversation = agent_conversation(agent)
        ```

    The agent brings its own tools, prompts and LLM client. In a test its LLM calls lead through
    the gateway by the variables that such clients read: `OPENAI_BASE_URL` and `OPENAI_API_KEY`,
    `ANTHROPIC_BASE_URL` and `ANTHROPIC_API_KEY`. These and a conversation's `secrets` are
    environment variables of the agent; so is the model, unless it is given here.

    Args:
        command: The program and its arguments, as words; it has to be in the sandbox.
        env: Further environment variables. They are no secrets: they show in the description.
        model: The model the agent is to use, by its own name for it; by default it is told that of
            `LLM_MODEL` by variables such as `ANTHROPIC_MODEL`, and decides.
        session_mode: The session mode to switch to, such as one that asks for no permission; by
            default the server knows the right one of Claude Code, Codex and Gemini.
        startup_timeout: Seconds until the agent must have begun its session.
        idle_timeout: Seconds without any sign of life after which its turn is given up.
        extra: Any other field of the server's ACPAgent, such as `acp_isolate_data_dir`.

    Raises:
        SettingsError: The command is not a list of words, or a variable's name is none.
    """
    if isinstance(command, str) or not command or not all(isinstance(w, str) for w in command):
        raise SettingsError(
            f'acp_agent(command=…) is a list of words, such as ["my-agent", "--acp"], not '
            f"{command!r}."
        )
    for name in env or {}:
        if not _VARIABLE.fullmatch(name):
            raise SettingsError(f"acp_agent(env=…): {name!r} is no name of a variable.")
    return ACPAgent(
        acp_command=[*_setting(env or {}), *command],
        acp_model=model,
        acp_session_mode=session_mode,
        acp_startup_timeout=startup_timeout,
        acp_prompt_timeout=idle_timeout,
        **extra,
    )


def is_acp(payload: Mapping[str, Any]) -> bool:
    """Tell whether a description, as `agent_payload` returns it, is of such an agent."""
    return payload.get("kind") == _KIND


def with_variables(payload: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    """Return such a description with more environment variables; its own win over them.

    Args:
        payload: As `agent_payload` returns it.
        variables: They are no secrets: they show in the description.
    """
    return {**payload, "acp_command": [*_setting(variables), *payload["acp_command"]]}


def _setting(variables: Mapping[str, str]) -> list[str]:
    """Return what goes before a command: the server has no field for its environment."""
    return ["env", *(f"{name}={value}" for name, value in variables.items())] if variables else []
