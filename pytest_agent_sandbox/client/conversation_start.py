"""How a conversation comes to be on the server, or is found there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_agent_sandbox.client.answers import an_id
from pytest_agent_sandbox.client.conversation_request import conversation_request
from pytest_agent_sandbox.client.conversation_workspace import ConversationWorkspace
from pytest_agent_sandbox.client.policies import ConfirmationPolicy, SecurityAnalyzer
from pytest_agent_sandbox.client.secret_fields import secrets_in
from pytest_agent_sandbox.client.skills import Skill
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.host.redaction import Redactor


def start_or_find(
    connection: ServerConnection,
    workspace: ConversationWorkspace,
    agent: object | None,
    *,
    conversation_id: str | None,
    max_iterations: int,
    confirm: ConfirmationPolicy,
    security_analyzer: SecurityAnalyzer | None,
    request: Mapping[str, Any] | None,
    mcp_servers: Mapping[str, Mapping[str, Any]] | None,
    skills: Sequence[Skill | Mapping[str, Any]],
    hooks: Mapping[str, Any] | None,
    redactor: Redactor,
) -> str:
    """Start a conversation, or find the one of that id where there is no agent; return its id.

    Takes what `RemoteConversation` does, and raises what that does. The redactor learns of the
    credentials in all of it, before the server gets them.
    """
    if agent is None:
        info = connection.get_json(f"/api/conversations/{conversation_id}")
    else:
        body = conversation_request(
            connection,
            agent,
            working_dir=workspace.working_dir,
            has_desktop=workspace.has_desktop,
            conversation_id=conversation_id,
            max_iterations=max_iterations,
            confirm=confirm,
            security_analyzer=security_analyzer,
            request=request,
            mcp_servers=mcp_servers,
            skills=skills,
            hooks=hooks,
        )
        # Many variables hold the folder's own path, which is no secret.
        redactor.add(*(one for one in secrets_in(body) if workspace.working_dir not in one))
        info = connection.post_json("/api/conversations", body)
    return an_id(info, "The start of a conversation")
