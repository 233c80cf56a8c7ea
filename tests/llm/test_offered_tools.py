"""Scripted tool calls that an agent could not carry out fail at that call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

from pytest_agent_sandbox.errors import LLMScriptMismatch
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.offered_tools import why_refused
from pytest_agent_sandbox.llm.replies import LLMRequest, say, tool, unchecked
from pytest_agent_sandbox.llm.script import Script

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "command": {"type": "string"},
        "timeout": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "lines": {"type": "array", "items": {"type": "integer"}},
        "count": {"type": "integer"},
        "reset": {"type": "boolean"},
        "mode": {"type": "string", "enum": ["view", "edit"]},
        "any": {"description": "anything"},
        "odd": {"type": "teapot"},
        "summary": {"type": "string"},
        "security_risk": {"type": "string", "enum": ["LOW"]},
    },
    "required": ["command", "summary", "security_risk"],
}


def chat(name: str, schema: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": schema}}


def request(*tools: dict[str, Any], last: str = "Go.") -> LLMRequest:
    return LLMRequest(1, "m", [{"role": "user", "content": last}], tools, {})


#: The same two tools in each dialect.
DIALECTS = {
    "openai-chat": [chat("terminal", SCHEMA), chat("finish", {})],
    "openai-responses": [
        {"type": "function", "name": "terminal", "parameters": SCHEMA},
        {"type": "namespace", "name": "more", "tools": [{"type": "function", "name": "finish"}]},
    ],
    "anthropic-messages": [
        {"name": "terminal", "input_schema": SCHEMA},
        {"name": "finish", "input_schema": {}},
    ],
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_tools_of_each_dialect(dialect: str) -> None:
    asked = request(*DIALECTS[dialect])
    assert why_refused(tool("terminal", command="ls"), asked) == ""
    assert why_refused(tool("finish", message="Done."), asked) == "", "a schema that says nothing"
    assert why_refused(tool("terminl", command="ls"), asked) == (
        "calls the tool 'terminl', which the agent does not have (did you mean 'terminal'?). "
        "Its tools: terminal, finish."
    )
    assert "it has no 'cmd'" in why_refused(tool("terminal", cmd="ls"), asked)


def test_tools_that_come_with_the_input_as_codex_sends_them() -> None:
    text = "Run code. Nested tools are global: `await tools.exec_command({cmd})`."
    custom = {"type": "custom", "name": "exec", "description": text}
    shell = {"type": "function", "name": "wait", "parameters": {}}
    item = {
        "type": "additional_tools",
        "tools": [{"type": "namespace", "name": "functions", "tools": [custom, shell, "odd"]}, 3],
    }
    asked = LLMRequest(1, "m", [], [], {"input": [{"role": "user"}, item, "odd"]})
    for name in ("exec_command", "exec", "wait"):
        assert why_refused(tool(name, cmd="ls"), asked) == ""
    assert "Its tools: exec, wait" in why_refused(tool("exec_comand", cmd="ls"), asked)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "refuses: command is missing. It takes: command, timeout, lines, "),
        ({"comand": "ls"}, "it has no 'comand' (did you mean 'command'?); command is missing"),
        ({"command": 1}, "'command' is 1, and not of type string"),
        ({"command": None}, "'command' is None, and not of type string"),
        ({"command": "ls", "timeout": "5"}, "'timeout' is '5', and not of type number or null"),
        ({"command": "ls", "timeout": True}, "'timeout' is True"),
        ({"command": "ls", "lines": "1"}, "'lines' is '1', and not of type array"),
        ({"command": "ls", "count": 1.5}, "'count' is 1.5, and not of type integer"),
        ({"command": "ls", "reset": 1}, "'reset' is 1, and not of type boolean"),
        ({"command": "ls", "mode": "veiw"}, "'mode' is 'veiw', and not one of 'view', 'edit'"),
    ],
)
def test_arguments_that_the_schema_refuses(arguments: dict[str, Any], said: str) -> None:
    told = why_refused(tool("terminal", **arguments), request(chat("terminal", SCHEMA)))
    assert told.startswith("calls the tool 'terminal' with arguments that its schema refuses: ")
    assert said in told
    assert "summary" not in told


@pytest.mark.parametrize(
    "arguments",
    [
        {"timeout": None},
        {"timeout": 5},
        {"timeout": 5.5},
        {"lines": [1, 2]},
        {"lines": (1, 2)},
        {"count": 2.0},
        {"reset": False},
        {"mode": "view"},
        {"any": {"a": [1]}},
        {"odd": "x"},
        {"summary": "List files."},
    ],
)
def test_arguments_that_the_schema_takes(arguments: dict[str, Any]) -> None:
    call = tool("terminal", command="ls", **arguments)
    assert why_refused(call, request(chat("terminal", SCHEMA))) == ""


def test_a_schema_may_take_more_than_it_names() -> None:
    for more in ({"additionalProperties": True}, {"patternProperties": {"^x": {}}}):
        asked = request(chat("terminal", {**SCHEMA, **more}))
        assert why_refused(tool("terminal", command="ls", other=1), asked) == ""


@pytest.mark.parametrize(
    "tools",
    [
        [{"name": 7}, {"function": {"name": None}}, {"function": "x"}, {}],
        [{"type": "function", "tools": [1, {"tools": []}]}, {"name": "a\x1b[31m" + "b" * 9000}],
        [chat(f"tool{number}", None) for number in range(9000)],
        [chat("terminal", {"properties": {"command": 5}, "required": "command"})],
        [chat("terminal", {"properties": [], "required": [None, {}]})],
        [chat("terminal", {"properties": {"command": {"type": {}, "enum": 3, "anyOf": [1]}}})],
        [chat("terminal", {"properties": {"command": {"type": [[], "x"], "anyOf": [{}, {}]}}})],
        [chat("terminal", {"properties": {"command": {"enum": [{}, [], "a" * 99_999] * 9000}}})],
        [chat("terminal", {"properties": {"command": {"type": ["null"] * 99_999}}})],
        [chat("terminal", {"required": [f"argument {number}" * 99 for number in range(9000)]})],
    ],
)
def test_what_a_sandbox_sends_breaks_nothing(tools: list[Any]) -> None:
    told = why_refused(tool("terminal", command="ls"), request(*tools))
    assert len(told) < 10_000
    assert told.isprintable()


def test_a_call_that_is_refused_fails_at_once(
    gateway: Gateway, connect: Callable[..., openai.OpenAI]
) -> None:
    def ask(*replies: Any) -> tuple[Script, str]:
        script = Script(replies)
        client = connect(gateway.open_lane(script))
        try:
            client.chat.completions.create(
                model="m",
                messages=[{"role": "user", "content": "Go."}],
                tools=DIALECTS["openai-chat"],  # type: ignore[arg-type]
            )
        except openai.BadRequestError as refusal:
            return script, str(refusal)
        return script, ""

    wrong = tool("terminl", command="ls")
    for entry in (wrong, say("", tool("finish"), wrong), lambda _: wrong):
        script, refusal = ask(entry, say("Done."))
        assert "Reply 1 of the script calls the tool 'terminl'" in refusal
        with pytest.raises(
            LLMScriptMismatch, match=r"Its tools: terminal, finish\. If that is"
        ) as e:
            script.check()
        assert str(e.value).endswith("unchecked(tool('terminl', …)).")
    for entry in (unchecked(wrong), say("", unchecked(wrong))):
        script, refusal = ask(entry)
        assert refusal == ""
        script.verify()
