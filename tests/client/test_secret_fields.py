"""Which texts of a request nobody is to see."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import SecretStr

from pytest_agent_sandbox.client.agents import LLM, default_agent
from pytest_agent_sandbox.client.conversation_start import start_or_find
from pytest_agent_sandbox.client.secret_fields import secrets_in
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.host.redaction import Redactor


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"env": {"A": "1", "B": 2}, "name": "n"}, ["1"]),
        ({"mcp_config": {"a": {"headers": {"X-Key": "k"}}}}, ["k"]),
        ({"headers": {"Authorization": "Bearer t"}}, ["Bearer t", "t"]),
        ({"headers": {"Date": "1 May"}}, ["1 May"]),
        ([{"llm": {"api_key": "k", "model": "m"}}], ["k"]),
        ({"auth": {"strategy": "api_key", "value": "v"}}, ["v"]),
        ({"auth": {"strategy": "basic", "username": "u", "password": "p"}}, ["p"]),
        ({"auth": {"strategy": "header", "headers": {"H": "h"}}}, ["h"]),
        ({"value": "v", "env": None, "headers": "h", "auth": None}, []),
        (None, []),
    ],
)
def test_where_they_are(document: object, found: list[str]) -> None:
    assert list(secrets_in(document)) == found


def test_a_conversation_learns_of_them_before_the_server_does() -> None:
    redactor = Redactor()
    sent: list[dict[str, Any]] = []

    def post_json(_: str, body: dict[str, Any]) -> dict[str, str]:
        assert redactor("sk-of-mcp-servers") == "***", "the server may log it at once"
        sent.append(body)
        return {"id": "0b6a1c5e-1d0e-4f0c-8a55-1c4bb2b5d0a1"}

    server = {"command": "x", "env": {"KEY": SecretStr("sk-of-mcp-servers"), "DIR": "/srv/dir/in"}}
    connection = SimpleNamespace(version="1.58.0", post_json=post_json)
    start_or_find(
        cast(ServerConnection, connection),
        cast(RemoteWorkspace, SimpleNamespace(working_dir="/srv/dir", has_desktop=False)),
        default_agent(LLM(model="openai/any")),
        conversation_id=None,
        max_iterations=1,
        confirm=False,
        security_analyzer=None,
        request={"secrets": {"of": "a request"}},
        mcp_servers={"it": server},
        skills=(),
        hooks=None,
        redactor=redactor,
    )
    assert sent[0]["agent"]["mcp_config"]["it"]["env"]["KEY"] == "sk-of-mcp-servers"
    assert redactor("/srv/dir/in") == "/srv/dir/in", "the agent's folder is no secret"
