"""The parts of a script: the replies of a scripted LLM, and the request that it answers.

Plain data and the functions that make it; `Script` checks it, a dialect puts it on the wire.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Usage:
    """The tokens of one call, as the provider would bill them."""

    #: Tokens of the request, those from a cache included.
    prompt_tokens: int
    #: Tokens of the reply, reasoning included.
    completion_tokens: int
    #: Tokens of the request that the provider read from its cache, which is cheaper.
    cache_read_tokens: int = 0
    #: Tokens of the request that the provider put into its cache, which Anthropic bills.
    cache_write_tokens: int = 0
    #: Those of them that it keeps for an hour, for which Anthropic charges more.
    cache_write_1h_tokens: int = 0
    #: US dollars, if the provider itself says what the call cost.
    cost: float | None = None

    @property
    def total_tokens(self) -> int:
        """Tokens of request and reply."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.cache_write_1h_tokens + other.cache_write_1h_tokens,
            None if self.cost is None or other.cost is None else self.cost + other.cost,
        )


@dataclass(frozen=True)
class ScriptedToolCall:
    """One tool call of a reply, its arguments exactly as the script has them."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    #: Whether the agent has to have the tool, and its schema to take the arguments.
    is_checked: bool = True


@dataclass(frozen=True)
class Reply:
    """One whole answer of the LLM: text, tool calls, or both."""

    text: str = ""
    calls: tuple[ScriptedToolCall, ...] = ()
    #: The model's visible reasoning, sent as `reasoning_content`.
    reasoning: str = ""
    #: "tool_calls" or "stop" by default, whichever fits the reply.
    finish_reason: str | None = None
    #: Counted from the texts by default, at about four characters a token.
    usage: Usage | None = None


@dataclass(frozen=True)
class ErrorReply:
    """An answer that is an error of the provider."""

    #: The HTTP status, 400 to 599.
    status: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DelayedReply:
    """An answer that takes its time."""

    #: The wait before the first byte of the answer.
    seconds: float
    reply: Entry


@dataclass(frozen=True)
class LLMRequest:
    """A request of the agent to its LLM: the argument of a reply that is a function."""

    #: The number of the request, among those to the script, from 1.
    number: int
    #: The model's name as it arrived at the provider: without LiteLLM's provider prefix.
    model: str
    #: The conversation so far, in the provider's own form.
    messages: Sequence[Mapping[str, Any]]
    #: The tools that the agent offers, in the provider's own form.
    tools: Sequence[Mapping[str, Any]]
    #: The request's body as it came.
    body: Mapping[str, Any]

    @property
    def last_message(self) -> str:
        """The text of the last message: the user's words, or what the last tool printed."""
        return _text_of(self.messages[-1])

    @property
    def system_prompt(self) -> str:
        """The text of the system prompt; empty where there is none."""
        given = self.body.get("system") or self.body.get("instructions")
        if not given and self.messages[0].get("role") in ("system", "developer"):
            given = self.messages[0]
        return _text_of(given)

    @cached_property
    def length(self) -> int:
        """The length, in characters of JSON, of the conversation so far and the tools."""
        asked = {"messages": self.messages, "tools": self.tools}
        return len(json.dumps(asked, ensure_ascii=False))


#: A reply that depends on the request. It runs in a thread of its own.
ReplyFunction = Callable[[LLMRequest], "Reply | ScriptedToolCall | ErrorReply | DelayedReply"]

#: An entry of a script.
Entry = Reply | ScriptedToolCall | ErrorReply | DelayedReply | ReplyFunction


def say(
    text: str,
    *calls: ScriptedToolCall,
    reasoning: str = "",
    finish_reason: str | None = None,
    usage: Usage | None = None,
) -> Reply:
    """Return a reply with text, and any number of tool calls after it.

    Args:
        text: What the LLM says; may be empty where there are tool calls.
        calls: The reply's tool calls, each made by `tool`. This is the way to make several
            tool calls in one reply.
        reasoning: The model's visible reasoning.
        finish_reason: Why the model stopped, such as "length"; by default what fits.
        usage: The tokens to book; by default counted from the texts, so that a known model's
            cost is above zero.

    Example:
        ```python
        say("Two things at once.", tool("terminal", command="ls"), tool("terminal", command="pwd"))
        ```
    """
    return Reply(text, calls, reasoning, finish_reason, usage)


def tool(name: str, /, **arguments: Any) -> ScriptedToolCall:
    """Return a tool call; alone in a script it is a reply that holds nothing else.

    The test fails if the agent has no such tool, or the tool's schema refuses the arguments; see
    `unchecked` for calls that are meant to be wrong. Nothing is added to the arguments: the agent's
    tools accept a call without the `summary` and `security_risk` that their schemas mention.

    Example:
        ```python
        tool("terminal", command="echo hello")
        tool("finish", message="Done.")
        ```
    """
    return ScriptedToolCall(name, arguments)


def unchecked(call: ScriptedToolCall) -> ScriptedToolCall:
    """Return a tool call that the agent gets whether or not it has the tool and its arguments.

    Models make up tools and arguments; this is how a test sees what the agent does about that.

    Example:
        ```python
        agent_llm.script([unchecked(tool("terminl", cmd="ls")), say("There is no such tool.")])
        ```
    """
    return replace(call, is_checked=False)


def error(status: int, message: str = "", headers: Mapping[str, str] | None = None) -> ErrorReply:
    """Return an error of the provider, such as `error(429, headers={"retry-after": "1"})`.

    It counts as one reply: a client that retries gets the script's next one.

    Args:
        status: The HTTP status, 400 to 599. Agents retry 429 and 5xx, and no other.
        message: The provider's words.
        headers: Headers of the answer.
    """
    return ErrorReply(status, message or f"Scripted error {status}.", dict(headers or {}))


def delay(seconds: float, reply: Entry) -> DelayedReply:
    """Return a reply that comes after so many seconds.

    It is used up when its request arrives: a client that goes away during the wait and asks
    again gets the script's next reply.
    """
    return DelayedReply(seconds, reply)


def _text_of(part: Any) -> str:
    """Return the text of a message or of a part of one: a string, a list of parts, or an object."""
    if isinstance(part, str):
        return part
    if isinstance(part, list):
        return "\n".join(text for text in map(_text_of, part) if text)
    if not isinstance(part, Mapping):
        return ""
    # OpenAI and Anthropic nest in `content`; what a tool printed is `output` in OpenAI's responses.
    return _text_of(part.get("text") or part.get("content") or part.get("output"))
