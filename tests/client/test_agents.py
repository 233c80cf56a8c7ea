"""How agents are described to the server, and how their keys are not shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, field_serializer

from pytest_agent_sandbox.client.agents import LLM, Agent, Tool, agent_payload, default_agent
from pytest_agent_sandbox.errors import SettingsError

KEY = "sk-very-secret-key"


def llm() -> LLM:
    return LLM(
        model="openai/gpt-4o-mini",
        api_key=SecretStr(KEY),
        temperature=0.5,
        aws_secret_access_key=SecretStr(KEY),
        base_url=f"http://user:{KEY}@gateway/v1",
    )


def test_the_payload_of_an_agent_of_ours() -> None:
    agent = Agent(llm=llm(), tools=[Tool(name="terminal")], system_prompt="Be brief.")
    payload = agent_payload(agent)
    assert payload["kind"] == "Agent"
    assert payload["tools"] == [{"name": "terminal", "params": {}}]
    assert payload["system_prompt"] == "Be brief."
    assert payload["llm"]["api_key"] == KEY
    assert payload["llm"]["aws_secret_access_key"] == KEY
    assert payload["llm"]["usage_id"] == "agent"
    assert payload["llm"]["temperature"] == 0.5
    json.dumps(payload)


def test_empty_fields_are_left_to_the_server() -> None:
    payload = agent_payload(Agent(llm=LLM(model="m")))
    assert "base_url" not in payload["llm"]
    assert "api_key" not in payload["llm"]


@pytest.mark.parametrize("show", [repr, str], ids=["repr", "str"])
def test_no_key_is_shown(show: object) -> None:
    for shown in (llm(), Agent(llm=llm()), default_agent(llm())):
        assert KEY not in show(shown)  # type: ignore[operator]


def test_a_key_may_be_a_plain_string() -> None:
    agent = Agent(llm=LLM(model="m", api_key=KEY))
    assert KEY not in agent.model_dump_json()
    assert agent_payload(agent)["llm"]["api_key"] == KEY


def test_an_llm_that_cannot_be_reached_costs_seconds() -> None:
    settings = agent_payload(Agent(llm=LLM(model="m")))["llm"]
    waits = [
        min(
            max(settings["retry_multiplier"] * 2**attempt, settings["retry_min_wait"]),
            settings["retry_max_wait"],
        )
        for attempt in range(settings["num_retries"] - 1)
    ]
    assert 0 < sum(waits) < 10


def test_every_retry_setting_can_be_changed() -> None:
    settings = agent_payload(Agent(llm=LLM(model="m", num_retries=1, retry_min_wait=7)))["llm"]
    assert (settings["num_retries"], settings["retry_min_wait"]) == (1, 7)


def test_the_default_agent_is_upstreams() -> None:
    payload = agent_payload(default_agent(llm()))
    assert [tool["name"] for tool in payload["tools"]] == [
        "terminal",
        "file_editor",
        "task_tracker",
    ]
    assert payload["system_prompt_kwargs"] == {"cli_mode": True}
    assert payload["condenser"]["kind"] == "LLMSummarizingCondenser"
    assert payload["condenser"]["llm"]["usage_id"] == "condenser"
    assert payload["condenser"]["llm"]["api_key"] == KEY


@pytest.mark.parametrize(
    ("settings", "browser"),
    [
        ({}, False),
        ({"browser": True}, True),
        ({"cli_mode": True}, False),
        ({"cli_mode": False}, True),
        ({"browser": True, "cli_mode": False}, True),
    ],
)
def test_a_browser_is_given_when_it_is_asked_for(settings: dict[str, bool], browser: bool) -> None:
    payload = agent_payload(default_agent(llm(), **settings))
    names = [tool["name"] for tool in payload["tools"]]
    assert ("browser_tool_set" in names) is browser
    assert payload["system_prompt_kwargs"] == {"cli_mode": not browser}


def test_contradictory_settings_are_refused() -> None:
    with pytest.raises(SettingsError, match="contradict"):
        default_agent(llm(), browser=True, cli_mode=True)


def test_a_dict_is_taken_as_it_is() -> None:
    given = {"llm": {"model": "m", "api_key": SecretStr(KEY)}, "tools": []}
    assert agent_payload(given) == {
        "kind": "Agent",
        "llm": {"model": "m", "api_key": KEY},
        "tools": [],
    }
    assert given["llm"]["api_key"] != KEY  # type: ignore[call-overload,index]
    assert agent_payload({"kind": "ACPAgent"})["kind"] == "ACPAgent"


def test_an_sdk_agent_is_asked_for_its_keys_in_the_sdks_way() -> None:
    class SdkAgent(BaseModel):
        kind: str = "Agent"
        api_key: SecretStr = SecretStr(KEY)

        @field_serializer("api_key", when_used="always")
        def _expose(self, value: SecretStr, info: object) -> str:
            exposed = (getattr(info, "context", None) or {}).get("expose_secrets")
            return value.get_secret_value() if exposed else "****"

    assert agent_payload(SdkAgent()) == {"kind": "Agent", "api_key": KEY}


def test_anything_else_is_refused() -> None:
    with pytest.raises(SettingsError, match="not str"):
        agent_payload("agent")


def browser_params(payload: dict[str, Any]) -> object:
    (tool,) = [tool for tool in payload["tools"] if tool["name"] == "browser_tool_set"]
    return tool.get("params")


def test_a_browser_shows_where_there_is_a_desktop() -> None:
    agent = default_agent(llm(), browser=True)
    assert browser_params(agent_payload(agent)) == {}
    assert browser_params(agent_payload(agent, has_desktop=True)) == {"headless": False}
    names = [tool["name"] for tool in agent_payload(agent, has_desktop=True)["tools"]]
    assert names == [tool["name"] for tool in agent_payload(agent)["tools"]]


def test_an_agent_that_says_how_its_browser_runs_is_left_alone() -> None:
    tool = {"name": "browser_tool_set", "params": {"headless": True, "allowed_domains": ["x"]}}
    payload = agent_payload({"tools": [tool], "llm": {"model": "x"}}, has_desktop=True)
    assert payload["tools"] == [tool]
    bare = agent_payload({"tools": [{"name": "browser_tool_set"}, "odd"]}, has_desktop=True)
    assert bare["tools"] == [{"name": "browser_tool_set", "params": {"headless": False}}, "odd"]
    assert agent_payload({"kind": "ACPAgent"}, has_desktop=True).get("tools") in (None, [])
