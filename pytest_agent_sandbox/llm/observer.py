"""Observers, such as the evidence of a test, which are told of each LLM call as it happens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pytest_agent_sandbox.llm.calls import LLMCall
    from pytest_agent_sandbox.llm.exchange import Exchange

#: Bytes of an answer that an observer gets to see.
ANSWER_LIMIT = 256 * 1024
#: Fields in which Anthropic's messages and OpenAI's responses keep the system prompt.
_INSTRUCTIONS = ("system", "instructions")
_CACHE_MARK = "cache_control"


@dataclass(frozen=True)
class News:
    """The difference between a request and the one before it in the same conversation.

    Attributes:
        messages: The new messages, in the dialect's own form.
        repeated: How many messages before them are repeated.
        tools: The names of all tools; None if they are the same as before.
    """

    messages: list[Any] = field(default_factory=list)
    repeated: int = 0
    tools: list[str] | None = None


class Observer(Protocol):
    """An observer of a conversation's calls. It runs on the gateway's event loop: be quick."""

    def asked(self, call: LLMCall, news: News) -> None:
        """Take note of a request that has come in."""
        ...

    def answered(self, call: LLMCall, answer: bytes) -> None:
        """Take note that a call is over, with the first `ANSWER_LIMIT` bytes of its answer."""
        ...


class Reader:
    """A reader of a conversation's requests that finds what is new in each."""

    def __init__(self) -> None:
        self._messages: list[Any] = []
        self._tools: list[str] = []

    def news(self, exchange: Exchange) -> News:
        """Return what is new in this request, and compare the next one with it."""
        content = exchange.content
        messages = [
            {"role": "system", "content": content[name]}
            for name in _INSTRUCTIONS
            if content.get(name)
        ]
        turns = exchange.dialect.messages(content)
        messages += turns if isinstance(turns, list) else []
        plain = [_unmarked(message) for message in messages]
        repeated = 0
        for before, now in zip(self._messages, plain, strict=False):
            if before != now:
                break
            repeated += 1
        tools = _tool_names(content)
        news = News(messages[repeated:], repeated, tools if tools != self._tools else None)
        self._messages, self._tools = plain, tools
        return news


def _unmarked(message: Any) -> Any:
    """Return a message without the marks for Anthropic's cache, which move with each request."""
    if not isinstance(message, dict):
        return message
    content = message.get("content")
    if isinstance(content, list):
        content = [_without_mark(part) for part in content]
    return {**_without_mark(message), "content": content}


def _without_mark(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    return {name: value for name, value in part.items() if name != _CACHE_MARK}


def _tool_names(content: Mapping[str, Any]) -> list[str]:
    tools = content.get("tools")
    names = []
    for tool in tools if isinstance(tools, list) else []:
        holder = tool.get("function", tool) if isinstance(tool, dict) else {}
        names.append(str(holder.get("name", "?")) if isinstance(holder, dict) else "?")
    return names
