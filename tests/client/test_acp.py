"""How agents of the Agent Client Protocol are described, and what their tool calls show."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_agent_sandbox.client.acp import acp_agent, is_acp, with_variables
from pytest_agent_sandbox.client.agents import LLM, Agent, agent_payload
from pytest_agent_sandbox.client.event_log import EventLog
from pytest_agent_sandbox.client.events import ACPToolCallEvent, parse_event
from pytest_agent_sandbox.errors import SettingsError


def test_the_payload() -> None:
    agent = acp_agent(
        ["npx", "-y", "@x/codex-acp"],
        model="gpt-5.5",
        session_mode="read-only",
        startup_timeout=30,
        idle_timeout=60,
        acp_isolate_data_dir=True,
    )
    payload = agent_payload(agent)
    assert payload == {
        "kind": "ACPAgent",
        "acp_command": ["npx", "-y", "@x/codex-acp"],
        "acp_model": "gpt-5.5",
        "acp_session_mode": "read-only",
        "acp_startup_timeout": 30.0,
        "acp_prompt_timeout": 60.0,
        "acp_isolate_data_dir": True,
    }
    json.dumps(payload)


def test_what_is_not_said_is_left_to_the_server() -> None:
    payload = agent_payload(acp_agent(["agent"]))
    assert payload.keys() == {"kind", "acp_command", "acp_startup_timeout", "acp_prompt_timeout"}


def test_variables_go_before_the_command() -> None:
    payload = agent_payload(acp_agent(["agent", "--acp"], env={"A": "1 2", "B": "x=y"}))
    assert payload["acp_command"] == ["env", "A=1 2", "B=x=y", "agent", "--acp"]


def test_variables_that_are_added_give_way_to_its_own() -> None:
    payload = agent_payload(acp_agent(["agent"], env={"A": "1"}))
    assert with_variables(payload, {}) == payload
    added = with_variables(payload, {"A": "2", "B": "3"})
    assert added == {**payload, "acp_command": ["env", "A=2", "B=3", "env", "A=1", "agent"]}


@pytest.mark.parametrize("command", ["npx agent", [], ["agent", 1], None])
def test_a_command_that_is_no_list_of_words(command: Any) -> None:
    with pytest.raises(SettingsError, match="list of words"):
        acp_agent(command)


@pytest.mark.parametrize("name", ["", "1A", "A B", "A=B", "-u"])
def test_a_variable_without_a_name(name: str) -> None:
    with pytest.raises(SettingsError, match="no name of a variable"):
        acp_agent(["agent"], env={name: "x"})


def test_which_agents_are_of_this_kind() -> None:
    assert is_acp(agent_payload(acp_agent(["agent"])))
    assert is_acp(agent_payload({"kind": "ACPAgent", "acp_command": ["agent"]}))
    assert not is_acp(agent_payload(Agent(llm=LLM(model="m"))))


def news(**fields: Any) -> ACPToolCallEvent:
    event = parse_event({"kind": "ACPToolCallEvent", "id": "a", "tool_call_id": "t", **fields})
    assert isinstance(event, ACPToolCallEvent)
    return event


TEXT = {"type": "content", "content": {"type": "text", "text": "two lines\n"}}
PICTURE = {"type": "content", "content": {"type": "image", "data": "xx", "mime_type": "x"}}
DIFF = {"type": "diff", "path": "a.txt", "old_text": "one\n", "new_text": "one\ntwo\n"}
WIRE_DIFF = {"type": "diff", "path": "a.txt", "oldText": None, "newText": "new\n"}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, ""),
        ({"raw_output": "as it is"}, "as it is"),
        ({"raw_output": "as it is", "content": [TEXT]}, "as it is"),
        ({"raw_output": {"code": 1}, "content": [TEXT, PICTURE]}, "two lines\n"),
        (
            {"raw_output": {"code": 1}, "content": [PICTURE, "odd", {"type": "terminal"}]},
            '{"code": 1}',
        ),
        ({"raw_output": {"formatted_output": "hi\n", "exit_code": 0}}, "hi\n"),
        ({"content": [DIFF]}, "--- a.txt\n+++ a.txt\n@@ -1 +1,2 @@\n one\n+two"),
        ({"content": [WIRE_DIFF]}, "--- a.txt\n+++ a.txt\n@@ -0,0 +1 @@\n+new"),
    ],
)
def test_the_result_of_a_call(fields: dict[str, Any], text: str) -> None:
    assert news(**fields).text == text


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"title": "Run ls", "tool_kind": "execute"}, "execute"),
        ({"title": "mcp__files__list", "tool_kind": "other"}, "mcp__files__list"),
        ({"title": "Look"}, "Look"),
    ],
)
def test_the_name_of_a_call(fields: dict[str, Any], name: str) -> None:
    assert news(**fields).tool_name == name
    log = EventLog()
    log.add(news(**fields))
    assert [call.name for call in log.tool_calls()] == [name]


def test_a_call_that_has_ended_without_a_word_has_an_empty_result() -> None:
    log = EventLog()
    log.add(news(title="Think", status="in_progress"))
    assert log.tool_calls()[0].result is None
    log.add(news(title="Think", status="completed").model_copy(update={"id": "b"}))
    (call,) = log.tool_calls()
    assert (call.result, call.is_error) == ("", False)
