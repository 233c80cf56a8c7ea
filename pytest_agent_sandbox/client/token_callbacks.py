"""Callbacks that get a reply piece by piece, in the form in which upstream's programs know it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_agent_sandbox.client.agents import agent_payload
from pytest_agent_sandbox.client.callbacks import EventCallback
from pytest_agent_sandbox.client.events import Event, StreamingDeltaEvent
from pytest_agent_sandbox.errors import SettingsError


@dataclass(frozen=True)
class Delta:
    """A piece of a reply.

    Attributes:
        content: What was said.
        reasoning_content: What was thought.
        tool_calls: None: the server tells of calls when they are whole.
    """

    content: str | None
    reasoning_content: str | None
    tool_calls: None = None


@dataclass(frozen=True)
class StreamingChoice:
    """The only choice of a `StreamChunk`."""

    delta: Delta
    index: int = 0
    finish_reason: str | None = None


@dataclass(frozen=True)
class StreamChunk:
    """What a token callback gets.

    Attributes:
        id: Id of the event that it came in.
        choices: One.
    """

    id: str
    choices: list[StreamingChoice]


#: Called with each piece.
TokenCallback = Callable[[StreamChunk], object]


def calling(callbacks: Sequence[TokenCallback]) -> EventCallback:
    """Return a callback for events that calls others with the pieces of replies among them."""

    def call(event: Event) -> None:
        if isinstance(event, StreamingDeltaEvent):
            delta = Delta(event.content, event.reasoning_content)
            chunk = StreamChunk(event.id, [StreamingChoice(delta)])
            for callback in callbacks:
                callback(chunk)

    return call


def check_streams(agent: object) -> None:
    """Check that there is going to be something for a token callback.

    Raises:
        SettingsError: The agent's LLM answers in one piece.
    """
    described: dict[str, Any] = agent_payload(agent)
    llm = described.get("llm") or {}
    if "acp_command" not in described and not llm.get("stream"):
        raise SettingsError(
            "token_callbacks= take pieces of replies, and this agent's LLM answers in one piece: "
            "give it LLM(…, stream=True)."
        )
