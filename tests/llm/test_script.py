"""The script as data: what it accepts, and what it says about itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.llm.entries import describe
from pytest_agent_sandbox.llm.replies import (
    ErrorReply,
    LLMRequest,
    Reply,
    ScriptedToolCall,
    Usage,
    delay,
    error,
    say,
    tool,
)
from pytest_agent_sandbox.llm.script import Script


async def an_async_function(request: LLMRequest) -> Reply:
    return say("too late")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("Hello.", r"Reply 2 of the script is 'Hello\.' \(str\): give say"),
        (None, r"is None \(NoneType\)"),
        ([tool("terminal")], r"\(list\): give say"),
        (say, None),
        (Reply, r"\(type\): give say"),
        (an_async_function, "is an async function"),
        (tool("", command="ls"), r"calls the tool ''"),
        (tool("  "), r"calls the tool '  '"),
        (tool("editor", path=Path("x")), r"the arguments of the tool 'editor' .* JSON: .*Path"),
        (tool("editor", size=float("nan")), "cannot be sent as JSON"),
        (say("two", tool("a"), say("b")), r"\(Reply\) stands where a tool"),  # type: ignore[arg-type]
        (say("", tool("editor", path=Path("x"))), "Reply 2 of the script: the arguments"),
        (say(7), "its text is of type int"),  # type: ignore[arg-type]
        (say("", usage=Usage(-1, 2)), "whole numbers"),
        (say("", finish_reason=3), "finish_reason"),  # type: ignore[arg-type]
        (error(200), "status 200: give 400 to 599"),
        (error(True), "status True"),
        (error(429, headers={"retry-after": 1}), "'retry-after' cannot be sent with 1"),  # type: ignore[dict-item]
        (error(429, headers={"x": "a\nb"}), "cannot be sent"),
        (delay(-1, say("")), "delayed by -1"),
        (delay(float("inf"), say("")), "delayed by inf"),
        (delay(1, "Hello."), r"is 'Hello\.' \(str\)"),  # type: ignore[arg-type]
    ],
)
def test_a_mistake_shows_at_construction_with_its_position(entry: Any, message: str | None) -> None:
    if message is None:
        Script([say("first"), entry])
        return
    with pytest.raises(SettingsError, match=message) as failure:
        Script([say("first"), entry])
    assert "Reply 2 of the script" in str(failure.value)


@pytest.mark.parametrize("replies", ["Hello.", say("Hello."), None, iter(())])
def test_a_script_is_a_list(replies: Any) -> None:
    with pytest.raises(SettingsError, match="A script is a list of replies"):
        Script(replies)


def test_builders_add_nothing() -> None:
    assert tool("terminal", command="ls") == ScriptedToolCall("terminal", {"command": "ls"})
    assert tool("rename", name="x").arguments == {"name": "x"}
    assert say("Hi.", tool("a"), reasoning="hm") == Reply(
        "Hi.", (ScriptedToolCall("a"),), reasoning="hm"
    )
    assert error(429) == ErrorReply(429, "Scripted error 429.")


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (say("Hi."), "say('Hi.')"),
        (say("Hi.", tool("terminal", command="ls")), "say('Hi.', tool('terminal', command='ls'))"),
        (error(429, "slow down"), "error(429, 'slow down')"),
        (delay(0.5, tool("finish")), "delay(0.5, tool('finish'))"),
        (say, "the function say"),
        (say("word " * 100), "say('" + "word " * 22 + "word…"),
    ],
)
def test_entries_are_described_in_the_words_that_made_them(entry: Any, text: str) -> None:
    assert describe(entry)[:119] == text[:119]
    assert len(describe(entry)) <= 120


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        (
            [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}],
            "a\nb",
        ),
        (None, ""),
    ],
)
def test_last_message_is_text_whatever_its_form(content: Any, text: str) -> None:
    request = LLMRequest(1, "m", [{"role": "user", "content": content}], [], {})
    assert request.last_message == text


def test_an_empty_script_is_used_up_from_the_start() -> None:
    script = Script([])
    script.verify()
    assert len(script) == script.used == 0
