"""Which call of ours there is for each endpoint of the agent server, or why there is none.

`scripts/endpoints` makes docs/upstream.md of it; `test_endpoints.py` holds it to a real server.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

C = "conversation."
W = "agent_workspace."
S = "agent_workspace.server."
LOGIN = "logs a person in, with a browser; a test has an API key or a script"

#: Calls by method and path. Several are separated by commas; a call ends in `()` or is a property.
CALLS = {
    "GET /alive": W + "alive()",
    "GET /health": W + "wait_until_ready()",
    "GET /ready": W + "wait_until_ready()",
    "GET /": W + "server_info()",
    "GET /server_info": W + "server_info()",
    # Conversations.
    "POST /api/conversations": "agent_conversation()",
    "GET /api/conversations/search": S + "conversations.search()",
    "GET /api/conversations/count": S + "conversations.count()",
    "GET /api/conversations/{conversation_id}": S + "conversations.get(), " + C + "state",
    "DELETE /api/conversations/{conversation_id}": S + "conversations.delete(), " + W + "forget()",
    "PATCH /api/conversations/{conversation_id}": C + "set_title(), " + C + "set_tags()",
    "GET /api/conversations/{conversation_id}/agent_final_response": C + "final_response()",
    "POST /api/conversations/{conversation_id}/pause": C + "pause()",
    "POST /api/conversations/{conversation_id}/interrupt": C + "interrupt()",
    "POST /api/conversations/{conversation_id}/run": C + "run()",
    "POST /api/conversations/{conversation_id}/goal": C + "start_goal()",
    "POST /api/conversations/{conversation_id}/goal/stop": C + "stop_goal()",
    "POST /api/conversations/{conversation_id}/goal/resume": C + "resume_goal()",
    "POST /api/conversations/{conversation_id}/secrets": C + "update_secrets()",
    "POST /api/conversations/{conversation_id}/confirmation_policy": C
    + "set_confirmation_policy()",
    "POST /api/conversations/{conversation_id}/security_analyzer": C + "set_security_analyzer()",
    "POST /api/conversations/{conversation_id}/switch_profile": C + "switch_profile()",
    "POST /api/conversations/{conversation_id}/switch_llm": C + "switch_llm()",
    "POST /api/conversations/{conversation_id}/load_plugin": C + "load_plugin()",
    "POST /api/conversations/{conversation_id}/ask_agent": C + "ask_agent()",
    "POST /api/conversations/{conversation_id}/condense": C + "condense()",
    "POST /api/conversations/{conversation_id}/fork": C + "fork()",
    "POST /api/conversations/{conversation_id}/children": C + "start_child()",
    "POST /api/conversations/{conversation_id}/navigate": C + "navigate()",
    # Events.
    "GET /api/conversations/{conversation_id}/events/search": C + "events",
    "GET /api/conversations/{conversation_id}/events/count": C + "events",
    "POST /api/conversations/{conversation_id}/events": C + "send_message()",
    "POST /api/conversations/{conversation_id}/events/respond_to_confirmation": C
    + "accept(), "
    + C
    + "reject()",
    # Commands, files, git.
    "GET /api/bash/bash_events/search": W + "execute_command()",
    "POST /api/bash/start_bash_command": W + "execute_command(), " + W + "start_command()",
    "POST /api/bash/bash_commands/{command_id}/stop": W
    + "execute_command(), "
    + W
    + "start_command()",
    "POST /api/file/upload": W + "write_bytes(), " + W + "upload()",
    "GET /api/file/download": W + "read_bytes(), " + W + "download()",
    "GET /api/file/download-trajectory/{conversation_id}": S + "conversations.trajectory()",
    "GET /api/file/home": S + "folders.home()",
    "GET /api/file/search_subdirs": S + "folders.inside()",
    "GET /api/conversations": S + "conversations.get()",
    "POST /api/conversations/{conversation_id}/switch_acp_model": C + "switch_acp_model()",
    "GET /api/conversations/{conversation_id}/events": C + "events",
    "GET /api/conversations/{conversation_id}/events/{event_id}": C + "events",
    "GET /api/bash/bash_events/": W + "execute_command()",
    "GET /api/bash/bash_events/{event_id}": W + "execute_command()",
    "POST /api/bash/execute_bash_command": W + "execute_command()",
    "GET /api/file/archive": W + "download()",
    "POST /api/file/create_directory": W + "write_bytes(), " + W + "upload()",
    "GET /api/git/changes": W + "git_changes()",
    "GET /api/git/diff": W + "git_diff()",
    "GET /api/git/commits": W + "git_commits()",
    "GET /api/git/commits/{sha}/changes": W + "git_changes()",
    "GET /api/vscode/status": W + "vscode_url()",
    # What else the server keeps.
    "GET /api/settings": S + "settings.get()",
    "PATCH /api/settings": S + "settings.update()",
    "GET /api/settings/agent-schema": S + "settings.agent_schema()",
    "GET /api/settings/conversation-schema": S + "settings.conversation_schema()",
    "POST /api/settings/mcp/{settings_key}": S + "settings.add_mcp_server()",
    "PATCH /api/settings/mcp/{settings_key}": S + "settings.update_mcp_server()",
    "DELETE /api/settings/mcp/{settings_key}": S + "settings.delete_mcp_server()",
    "GET /api/settings/secrets": S + "secrets.list()",
    "PUT /api/settings/secrets": S + "secrets.set()",
    "GET /api/settings/secrets/{name}": S + "secrets.value()",
    "DELETE /api/settings/secrets/{name}": S + "secrets.delete()",
    "POST /api/mcp/test": S + "mcp.test()",
    "GET /api/tools/": S + "tools.names()",
    "GET /api/tools/catalog": S + "tools.catalog()",
    "GET /api/llm/providers": S + "models.providers()",
    "GET /api/llm/models": S + "models.list()",
    "GET /api/llm/models/verified": S + "models.verified()",
    "POST /api/acp/models": S + "models.of_acp_agent()",
    "POST /api/sub-agents": S + "sub_agents.find()",
    "POST /api/hooks": S + "hooks.find()",
    "GET /api/skills/catalog": S + "skills.catalog()",
    "POST /api/skills/sync": S + "skills.sync()",
    "POST /api/plugins/fetch": S + "plugins.fetch()",
    "GET /api/workspaces": S + "folders.list()",
    "POST /api/workspaces": S + "folders.add()",
    "DELETE /api/workspaces": S + "folders.delete()",
    "POST /api/profiles/{name}/validate": S + "profiles.validate()",
    "POST /api/profiles/{name}/rename": S + "profiles.rename()",
    "POST /api/agent-profiles/{name}/rename": S + "agent_profiles.rename()",
    "POST /api/agent-profiles/{profile_id}/activate": S + "agent_profiles.activate()",
    "POST /api/agent-profiles/{name}/materialize": S + "agent_profiles.materialize()",
    "GET /api/llm/provider-connections": S + "provider_connections.list()",
    "POST /api/llm/provider-connections": S + "provider_connections.add()",
    "PATCH /api/llm/provider-connections/{connection_id}": S + "provider_connections.update()",
    "DELETE /api/llm/provider-connections/{connection_id}": S + "provider_connections.delete()",
    "GET /api/vscode/url": W + "vscode_url()",
}
for _kind, _one in (("skills", "skill_name"), ("plugins", "plugin_name")):
    CALLS |= {
        f"POST /api/{_kind}": f"{S}{_kind}.find()",
        f"POST /api/{_kind}/install": f"{S}{_kind}.install()",
        f"GET /api/{_kind}/installed": f"{S}{_kind}.installed()",
        f"GET /api/{_kind}/installed/{{{_one}}}": f"{S}{_kind}.get()",
        f"PATCH /api/{_kind}/installed/{{{_one}}}": f"{S}{_kind}.enable()",
        f"DELETE /api/{_kind}/installed/{{{_one}}}": f"{S}{_kind}.uninstall()",
        f"POST /api/{_kind}/installed/{{{_one}}}/refresh": f"{S}{_kind}.refresh()",
        f"GET /api/{_kind}/marketplace": f"{S}{_kind}.marketplace()",
    }
for _path, _kind in (
    ("profiles", "profiles"),
    ("agent-profiles", "agent_profiles"),
    ("meta-profiles", "meta_profiles"),
):
    CALLS |= {
        f"GET /api/{_path}": f"{S}{_kind}.list()",
        f"GET /api/{_path}/{{name}}": f"{S}{_kind}.get()",
        f"POST /api/{_path}/{{name}}": f"{S}{_kind}.save()",
        f"DELETE /api/{_path}/{{name}}": f"{S}{_kind}.delete()",
    }
    if _kind != "agent_profiles":
        CALLS[f"POST /api/{_path}/{{name}}/activate"] = f"{S}{_kind}.activate()"

RUNTIMES = "of servers that start containers of their own: here there is one sandbox"
PAGES = "of the server's own web page"
READY = "a sandbox has what it needs before a test gets it"
CHAT = "the server as somebody's LLM: ask it with an OpenAI client"
SANDBOX = "goes with the sandbox"

#: Why there is no call, by how the method and path begin; the longest beginning counts.
REASONS = {
    "* /api/conversations/{conversation_id}/runtime": RUNTIMES,
    "* /api/conversations/{runtime_conversation_id}": RUNTIMES,
    "* /api/conversations/{conversation_id}/workspace": PAGES,
    "* /api/workspaces/parents": PAGES,
    "* /api/auth": PAGES,
    "* /api/canvas-extensions": PAGES,
    "* /app-backends": PAGES,
    "* /api/git/repositories": PAGES,
    "* /api/llm/subscription": LOGIN,
    "* /api/mcp/oauth": LOGIN,
    "* /api/init": READY,
    "* /v1": CHAT,
    "DELETE /api/bash": SANDBOX,
}
#: Reasons for which no test of an agent could want it.
NOBODYS = (RUNTIMES, PAGES, LOGIN, READY)


class Endpoint(NamedTuple):
    """An endpoint of the server, and ours.

    Attributes:
        name: Its method and path.
        call: Our call; empty for none.
        reason: Why there is none; empty where that is not known here.
    """

    name: str
    call: str
    reason: str


def endpoints(described: dict[str, Any]) -> list[Endpoint]:
    """Return the endpoints of a server, which describes itself in its `openapi.json`."""
    names = [
        f"{method.upper()} {path}"
        for path, operations in described["paths"].items()
        for method in operations
    ]
    return [Endpoint(name, CALLS.get(name, ""), _reason(name)) for name in names]


def wanted(found: Iterable[Endpoint]) -> list[Endpoint]:
    """Return those that a test could want."""
    return [one for one in found if one.reason not in NOBODYS]


def _reason(name: str) -> str:
    if name in CALLS:
        return ""
    any_method = f"* {name.partition(' ')[2]}"
    beginnings = [one for one in REASONS if name.startswith(one) or any_method.startswith(one)]
    return REASONS[max(beginnings, key=len)] if beginnings else ""
