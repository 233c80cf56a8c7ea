"""What the server is sent to start a conversation, by its version."""

from __future__ import annotations

from typing import Any, cast

import pytest

from pytest_agent_sandbox.client.agents import LLM, Agent
from pytest_agent_sandbox.client.conversation_request import conversation_request
from pytest_agent_sandbox.client.skills import Skill, hooks_payload, skill_payload
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import SettingsError

SERVER = {"command": "serve", "args": ["--fast"]}


class Answering:
    """A server of some version, asked for nothing else."""

    def __init__(self, version: str | Exception) -> None:
        self._version = version

    @property
    def version(self) -> str:
        if isinstance(self._version, Exception):
            raise self._version
        return self._version


def request(
    version: str | Exception = "1.58.0", agent: object = None, **given: Any
) -> dict[str, Any]:
    agent = agent or Agent(llm=LLM(model="m"))
    connection = cast(ServerConnection, Answering(version))
    return conversation_request(connection, agent, working_dir="/w", **given)


def test_what_is_not_given_is_not_sent() -> None:
    body = request(version=AssertionError("nobody asks"))
    assert body.keys() == {
        "agent",
        "workspace",
        "max_iterations",
        "confirmation_policy",
        "autotitle",
    }
    assert "agent_context" not in body["agent"]
    assert "mcp_config" not in body["agent"]


@pytest.mark.parametrize(
    ("version", "sent"),
    [
        ("1.58.0", {"s": SERVER}),
        ("1.32.0", {"s": SERVER}),
        ("2.0", {"s": SERVER}),
        ("1.31.9", {"mcpServers": {"s": SERVER}}),
        ("1.4.0", {"mcpServers": {"s": SERVER}}),
        ("odd", {"s": SERVER}),
        ("", {"s": SERVER}),
    ],
)
def test_mcp_servers_as_the_version_wants_them(version: str, sent: object) -> None:
    assert request(version, mcp_servers={"s": SERVER})["agent"]["mcp_config"] == sent


@pytest.mark.parametrize("own", [{"a": SERVER}, {"mcpServers": {"a": SERVER}}])
def test_the_agents_own_mcp_servers_stay(own: dict[str, Any]) -> None:
    agent = Agent(llm=LLM(model="m"), mcp_config=own)
    sent = request(agent=agent, mcp_servers={"b": {"url": "http://x"}})["agent"]["mcp_config"]
    assert sent == {"a": SERVER, "b": {"url": "http://x"}}


@pytest.mark.parametrize("server", [{}, {"args": ["x"]}, "serve", None])
def test_an_mcp_server_that_is_none(server: Any) -> None:
    with pytest.raises(SettingsError, match=r"mcp_servers=.'s'"):
        request(mcp_servers={"s": server})


def test_skills_are_added_to_the_agents_own() -> None:
    context = {"system_message_suffix": "Be brief.", "skills": [{"name": "a", "content": "A"}]}
    agent = Agent(llm=LLM(model="m"), agent_context=context)
    sent = request(agent=agent, skills=[Skill("b", "B", triggers=["x"])])["agent"]["agent_context"]
    assert sent == {
        "system_message_suffix": "Be brief.",
        "skills": [
            {"name": "a", "content": "A"},
            {"name": "b", "content": "B", "trigger": {"type": "keyword", "keywords": ["x"]}},
        ],
    }
    assert len(context["skills"]) == 1


def test_an_agent_without_a_context_is_not_told_the_time() -> None:
    context = request(skills=[Skill("b", "B")])["agent"]["agent_context"]
    assert context["current_datetime"] is None


def test_a_skill_keeps_what_else_it_says() -> None:
    assert skill_payload(Skill("a", "A", description="D")) == {
        "name": "a",
        "content": "A",
        "trigger": None,
        "description": "D",
    }
    assert skill_payload({"name": "a", "content": "A", "x": 1}) == {
        "name": "a",
        "content": "A",
        "x": 1,
    }


def test_a_hook_may_be_a_command_alone() -> None:
    matchers = [{"matcher": "terminal", "hooks": [{"command": "false", "timeout": 5}]}]
    assert hooks_payload({"stop": "true", "pre_tool_use": matchers}) == {
        "stop": [{"matcher": "*", "hooks": [{"command": "true"}]}],
        "pre_tool_use": matchers,
    }
    assert request(hooks={"stop": "true"})["hook_config"]["stop"][0]["matcher"] == "*"


def test_triggers_are_words() -> None:
    with pytest.raises(SettingsError, match=r"takes a list of words: \['release'\]"):
        Skill("a", "A", triggers="release")
    by_dict = skill_payload({"name": "a", "content": "A", "triggers": ["release"]})
    assert by_dict == skill_payload(Skill("a", "A", triggers=["release"]))


def test_what_is_no_dict() -> None:
    with pytest.raises(SettingsError, match=r"mcp_servers= takes a dict"):
        request(mcp_servers=["x"])
    with pytest.raises(SettingsError, match=r"hooks= takes a dict"):
        hooks_payload(["stop"])  # type: ignore[arg-type]
