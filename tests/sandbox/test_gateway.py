"""Leading an agent's LLMs through the gateway, wherever they stand in its description."""

from pytest_agent_sandbox.client.agents import LLM, default_agent
from pytest_agent_sandbox.sandbox.gateway import with_each_llm

KEY = "sk-a-real-key"


def led(agent):
    return str(with_each_llm(agent, lambda _: {"api_key": "token"}))


def test_an_agents_llm_and_its_condensers():
    text = led(default_agent(LLM(model="openai/x", api_key=KEY)))
    assert KEY not in text
    assert text.count("token") == 2


def test_an_llm_that_leaves_everything_to_the_server():
    assert "token" in led({"llm": {"model": "openai/x"}})
    assert KEY not in led({"llm": {"model": "openai/x", "api_key": KEY}})


def test_llms_inside_of_an_llm():
    router = {
        "model": "router",
        "usage_id": "agent",
        "llms_for_routing": {"big": {"model": "openai/x", "api_key": KEY}},
    }
    assert KEY not in led({"llm": router})


def test_what_only_looks_like_one_stays():
    tool = {"name": "painter", "params": {"model": "brush"}}
    assert with_each_llm({"llm": {"model": "x"}, "tools": [tool]}, lambda _: {"api_key": "t"})[
        "tools"
    ] == [tool]
