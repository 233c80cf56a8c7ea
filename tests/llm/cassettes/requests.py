"""Requests of each dialect, alike but for what a test changes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from pytest_agent_sandbox.llm.cassettes.canonical import CanonicalRequest, canonical
from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser

PATHS = {
    "openai-chat": "/chat/completions",
    "openai-responses": "/responses",
    "anthropic-messages": "/messages",
}


CODEX = "internal_chat_message_metadata_passthrough"
TOOL_USE: dict[str, Any] = {"type": "tool_use", "id": "t", "name": "sh"}
SCHEMA = {"type": "object", "properties": {"id": {"type": "string"}, "signature": {"type": "a"}}}


def chat(ids: str = "a", output: str = "file.txt", **other: Any) -> Any:
    call = {"id": f"call_{ids}1", "type": "function"}
    return {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "You help."},
            {"role": "user", "content": [{"type": "text", "text": "List them."}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {**call, "function": {"name": "sh", "arguments": '{"c": "ls"}'}},
                    {**call, "id": f"call_{ids}2", "function": {"name": "b", "arguments": "{}"}},
                ],
            },
            {"role": "tool", "tool_call_id": f"call_{ids}1", "content": output},
            {"role": "tool", "tool_call_id": f"call_{ids}2", "content": [{"text": output}]},
        ],
        "tools": [{"type": "function", "function": {"name": "sh", "parameters": SCHEMA}}],
        "temperature": 0.5,
        "stream": False,
        **other,
    }


def responses(ids: str = "a", output: str = "file.txt", **other: Any) -> Any:
    return {
        "model": "gpt-4o",
        "instructions": "You help.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "List them."}]},
            {"id": f"rs_{ids}", "type": "reasoning", "summary": [], "encrypted_content": ids},
            {
                "id": f"fc_{ids}",
                "type": "function_call",
                "call_id": f"call_{ids}",
                "name": "sh",
                "arguments": '{"c": "ls"}',
            },
            {"type": "function_call_output", "call_id": f"call_{ids}", "output": output},
            {"type": "custom_tool_call_output", "call_id": f"call_{ids}", "output": output},
        ],
        "previous_response_id": f"resp_{ids}",
        "tools": [{"type": "function", "name": "sh", "parameters": SCHEMA}],
        "temperature": 0.5,
        "stream": False,
        **other,
    }


def messages(ids: str = "a", output: str = "file.txt", **other: Any) -> Any:
    return {
        "model": "claude-sonnet-4-5",
        "system": [{"type": "text", "text": "You help."}],
        "messages": [
            {"role": "user", "content": "List them."},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "I will.", "signature": f"s-{ids}"},
                    {"type": "redacted_thinking", "data": f"d-{ids}"},
                    {
                        "type": "tool_use",
                        "id": f"toolu_{ids}",
                        "name": "sh",
                        "input": {"id": "row-7", "signature": "def f(x)", "n": [{"id": "row-8"}]},
                    },
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": f"toolu_{ids}",
                        "content": [{"type": "text", "text": output}],
                    }
                ],
            },
        ],
        "tools": [{"name": "sh", "input_schema": SCHEMA}],
        "temperature": 0.5,
        "stream": False,
        **other,
    }


Make = Callable[..., Any]


DIALECTS = {"openai-chat": chat, "openai-responses": responses, "anthropic-messages": messages}


each_dialect = pytest.mark.parametrize(("dialect", "make"), DIALECTS.items(), ids=list(DIALECTS))


def request(body: Any, dialect: str = "openai-chat", **settings: Any) -> CanonicalRequest:
    return canonical(dialect, "POST", PATHS[dialect], body, Normaliser(**settings))


def changed(body: Any, *steps: Any) -> Any:
    """The body with the value at the path, its last step, put in place of what is there."""
    body = copy.deepcopy(body)
    *path, last, value = steps
    inner = body
    for step in path:
        inner = inner[step]
    inner[last] = value
    return body
