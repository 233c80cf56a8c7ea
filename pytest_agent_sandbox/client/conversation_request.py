"""The request that starts a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_agent_sandbox.client import versions
from pytest_agent_sandbox.client.agents import agent_payload, plain
from pytest_agent_sandbox.client.policies import (
    ConfirmationPolicy,
    SecurityAnalyzer,
    analyzer_payload,
    needs_analyzer,
    policy_payload,
)
from pytest_agent_sandbox.client.skills import Skill, hooks_payload, skill_payload
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import SettingsError


def conversation_request(
    connection: ServerConnection,
    agent: object,
    *,
    working_dir: str,
    has_desktop: bool = False,
    conversation_id: str | None = None,
    max_iterations: int = 100,
    confirm: ConfirmationPolicy = False,
    security_analyzer: SecurityAnalyzer | None = None,
    request: Mapping[str, Any] | None = None,
    mcp_servers: Mapping[str, Mapping[str, Any]] | None = None,
    skills: Sequence[Skill | Mapping[str, Any]] = (),
    hooks: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the body of the request, API keys in clear: for sending, never for logs.

    Args:
        connection: The server, which is asked for its version where that matters.
        agent: Whatever `agent_payload` takes.
        working_dir: Where the agent works.
        has_desktop: Whether its browser shall show on a desktop.
        conversation_id: The id to give to the conversation.
        max_iterations: The most steps the agent may take in one run.
        confirm: Which tool calls wait for a confirmation.
        security_analyzer: Who judges their risk.
        request: Further fields, which win over these.
        mcp_servers: MCP servers by name, in addition to the agent's own.
        skills: Skills in addition to the agent's own.
        hooks: Whatever `hooks_payload` takes.

    Raises:
        SettingsError: Some of this cannot be used.
    """
    described = agent_payload(agent, has_desktop=has_desktop)
    if mcp_servers:
        described["mcp_config"] = _with_mcp_servers(connection, described, mcp_servers)
    if skills:
        described["agent_context"] = _with_skills(described, [skill_payload(one) for one in skills])
    body: dict[str, Any] = {
        "agent": described,
        "workspace": {"kind": "LocalWorkspace", "working_dir": working_dir},
        "max_iterations": max_iterations,
        "confirmation_policy": policy_payload(confirm),
        # A title costs an LLM call of its own, in a race with the agent's first one.
        "autotitle": False,
    }
    if security_analyzer is None and needs_analyzer(body["confirmation_policy"]):
        security_analyzer = "llm"
    if security_analyzer is not None:
        body["security_analyzer"] = analyzer_payload(security_analyzer)
    if hooks:
        body["hook_config"] = hooks_payload(hooks)
    if conversation_id is not None:
        body["conversation_id"] = conversation_id
    return {**body, **(request or {})}


def _with_skills(agent: Mapping[str, Any], skills: list[dict[str, Any]]) -> dict[str, Any]:
    # A context that the server makes up itself holds the time of day.
    context = dict(agent.get("agent_context") or {"current_datetime": None})
    context["skills"] = [*(context.get("skills") or ()), *skills]
    return context


def _with_mcp_servers(
    connection: ServerConnection,
    agent: Mapping[str, Any],
    mcp_servers: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    if not isinstance(mcp_servers, Mapping):
        raise SettingsError(
            f'mcp_servers= takes a dict, {{"name": {{"command": "…"}}}}, not {mcp_servers!r}.'
        )
    for name, server in mcp_servers.items():
        if not isinstance(server, Mapping) or not (server.get("command") or server.get("url")):
            raise SettingsError(
                f"mcp_servers={{{name!r}: …}} needs a `command` that is in the sandbox, with its "
                f"`args`, or a `url`."
            )
    own = dict(agent.get("mcp_config") or {})
    servers = {**own.get("mcpServers", own), **plain(mcp_servers)}
    is_plain = versions.has(connection.version, versions.PLAIN_MCP_SERVERS)
    return servers if is_plain else {"mcpServers": servers}
