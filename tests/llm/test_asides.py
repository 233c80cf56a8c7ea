"""Questions that take replies of a script which is meant for an agent's work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import openai
import pytest

from pytest_agent_sandbox.errors import LLMScriptExhausted, LLMScriptMismatch, LLMScriptUnused
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.replies import LLMRequest, say, tool
from pytest_agent_sandbox.llm.script import Script

Connect = Callable[..., openai.OpenAI]

TOOLS = [{"type": "function", "function": {"name": "shell", "parameters": {"type": "object"}}}]
TITLE = ("You write titles.", "Write a title for: Repair it.")
WORK = ("You are an agent.", "Repair it.")


def ask(client: openai.OpenAI, question: tuple[str, str], **more: Any) -> None:
    roles = ("system", "user")
    messages: Any = [
        {"role": role, "content": text} for role, text in zip(roles, question, strict=True)
    ]
    client.chat.completions.create(model="m", messages=messages, **more)


def test_a_title_that_is_asked_for_first(gateway: Gateway, connect: Connect) -> None:
    script = Script([say("A title."), tool("shell"), say("Done.")])
    client = connect(gateway.open_lane(script))
    ask(client, TITLE)
    assert script.asides == "", "nothing to tell it by"
    for _ in range(2):
        ask(client, WORK, tools=TOOLS)
    script.verify()
    assert script.asides.startswith(
        "Request 1, which took reply 1, offered no tools, unlike others: 'You write titles.', and "
        "then 'Write a title for: Repair it.'\n"
    )
    assert "docs/agents.md" in script.asides


def test_a_title_that_takes_a_tool_call(gateway: Gateway, connect: Connect) -> None:
    script = Script([tool("shell"), say("Done.")])
    client = connect(gateway.open_lane(script))
    with pytest.raises(openai.BadRequestError, match="offers no tools"):
        ask(client, TITLE)
    said = r"calls the tool 'shell', .* no tools: 'Write a title for: Repair it\.'\. Agents ask for"
    with pytest.raises(LLMScriptMismatch, match=said):
        script.check()


def test_replies_that_are_left(gateway: Gateway, connect: Connect) -> None:
    script = Script([say("One."), say("Two."), say("Three.")])
    client = connect(gateway.open_lane(script))
    ask(client, TITLE)
    ask(client, WORK, tools=TOOLS)
    with pytest.raises(LLMScriptUnused, match=r"'Three\.'\)\nRequest 1, which took reply 1,"):
        script.verify()
    assert script.asides == "", "it is told already"


def test_a_request_too_many(gateway: Gateway, connect: Connect) -> None:
    """Of an agent that never offers tools."""
    script = Script([say("One.")])
    client = connect(gateway.open_lane(script))
    ask(client, WORK)
    with pytest.raises(openai.BadRequestError):
        ask(client, ("You write commit messages.", "x" * 500))
    with pytest.raises(
        LLMScriptExhausted, match="Request 2 had another system prompt than others: 'You"
    ):
        script.check()


def test_an_agent_that_asks_of_its_work_alone(gateway: Gateway, connect: Connect) -> None:
    script = Script([say("One."), say("Two."), say("Three.")])
    client = connect(gateway.open_lane(script))
    for _ in range(2):
        ask(client, WORK, tools=TOOLS)
    assert script.asides == ""
    with pytest.raises(LLMScriptUnused) as raised:
        script.verify()
    assert "Request" not in str(raised.value)


def test_what_has_no_system_prompt_is_not_guessed_at(gateway: Gateway, connect: Connect) -> None:
    script = Script([say("One.")])
    client = connect(gateway.open_lane(script))
    for text in ("First.", "Another."):
        with contextlib.suppress(openai.BadRequestError):
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}])
    with pytest.raises(LLMScriptExhausted) as raised:
        script.check()
    assert "Request 2" not in str(raised.value)


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "developer", "content": "Be brief."}]},
        {"messages": [{"role": "user", "content": "x"}], "system": [{"text": "Be brief."}]},
        {"messages": [{"role": "user", "content": "x"}], "instructions": "Be brief."},
    ],
)
def test_the_system_prompt_of_each_dialect(body: dict[str, Any]) -> None:
    assert LLMRequest(1, "m", body["messages"], [], body).system_prompt == "Be brief."


def test_a_program_may_ask_in_different_ways(gateway: Gateway, connect: Connect) -> None:
    script = Script([say("One."), say("Two.")])
    client = connect(gateway.open_lane(script))
    ask(client, TITLE)
    ask(client, WORK)
    script.verify()
    assert script.asides == ""
