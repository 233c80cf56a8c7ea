"""The live LLM of the examples: a provider here that says what a page's comments tell."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

import pytest_agent_sandbox
from pytest_agent_sandbox.llm.replies import LLMRequest, Reply, ScriptedToolCall, say
from tests.support.provider import turns

from .markdown import Block

Replies = Sequence[Reply | ScriptedToolCall]


def answering(blocks: Sequence[Block]) -> Callable[[LLMRequest], Reply | ScriptedToolCall]:
    """The function of the request that answers for all of these blocks."""
    told = [(words, replies_of(block)) for block in blocks for words in messages_in(block)]

    def answer(request: LLMRequest) -> Reply | ScriptedToolCall:
        asked = str([message for message in request.messages if message.get("role") == "user"])
        for words, replies in told:
            if replies and words in asked:
                return replies[min(turns(request), len(replies) - 1)]
        return say("Done.")

    return answer


def replies_of(block: Block) -> Replies:
    if "llm" not in block.notes:
        return []
    known = {name: getattr(pytest_agent_sandbox, name) for name in ("say", "tool")}
    return list(eval(block.notes["llm"], known))


def messages_in(block: Block) -> list[str]:
    """The texts that a block's `send_message` sends."""
    if block.language != "python":
        return []
    return [
        part.value
        for call in ast.walk(ast.parse(block.code))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and "send_message" in call.func.attr
        for part in ast.walk(call)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
