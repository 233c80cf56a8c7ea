"""The events of a conversation, as the agent server sends them.

Servers and this package are of different ages, so that nothing here refuses what it does not know:
unknown kinds become an `Event`, unknown fields stay, and an event that is not what its kind
promises becomes an `Event` too. A class is named as the server names the kind.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationError

from pytest_agent_sandbox.client.answers import as_text
from pytest_agent_sandbox.client.event_base import Content, Event, Message, Observation, joined_text
from pytest_agent_sandbox.client.tool_events import (
    ACPToolCallEvent,
    ActionEvent,
    AgentErrorEvent,
    ObservationEvent,
    UserRejectObservation,
)

__all__ = [
    "FULL_STATE",
    "ACPToolCallEvent",
    "ActionEvent",
    "AgentErrorEvent",
    "Condensation",
    "CondensationRequest",
    "Content",
    "ConversationErrorEvent",
    "ConversationStateUpdateEvent",
    "Event",
    "HookExecutionEvent",
    "InterruptEvent",
    "LLMCompletionLogEvent",
    "Message",
    "MessageEvent",
    "Observation",
    "ObservationEvent",
    "PauseEvent",
    "SecurityAnalysisEvent",
    "ServerErrorEvent",
    "StreamingDeltaEvent",
    "SystemPromptEvent",
    "TokenEvent",
    "UserRejectObservation",
    "parse_event",
]

#: Under this key a state update carries the whole state instead of one field.
FULL_STATE = "full_state"


class SystemPromptEvent(Event):
    """The words that the agent was told before anything else."""

    system_prompt: Content
    tools: list[Any] = Field(default_factory=list)


class MessageEvent(Event):
    """A message; `source` says who sent it."""

    llm_message: Message
    sender: str | None = None

    @property
    def text(self) -> str:
        """The message's text."""
        return joined_text(self.llm_message.content)


class ConversationErrorEvent(Event):
    """The failure of a run."""

    code: str
    detail: str

    @property
    def text(self) -> str:
        """What happened, in the server's words."""
        return f"{self.code}: {self.detail}".strip(": ")

    @property
    def is_error(self) -> bool:
        """Always."""
        return True


class ServerErrorEvent(ConversationErrorEvent):
    """A failure of the server, beside the run."""


class PauseEvent(Event):
    """The request for a pause."""


class InterruptEvent(Event):
    """The end of a run that somebody stopped."""


class HookExecutionEvent(Event):
    """The run of a hook."""

    hook_event_type: str
    blocked: bool = False
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""


class Condensation(Event):
    """The replacement of older events by a summary, in what the LLM gets to see."""

    forgotten_event_ids: list[str] = Field(default_factory=list)
    summary: str | None = None


class CondensationRequest(Event):
    """The request for a condensation."""


class ConversationStateUpdateEvent(Event):
    """A change of one field of the conversation's state, or the whole state."""

    key: str
    value: Any = None

    @property
    def is_full(self) -> bool:
        """Whether `value` is the whole state. Such an event is never kept in the server's log."""
        return self.key == FULL_STATE

    @property
    def is_persisted(self) -> bool:
        """Whether the server keeps this event in its log."""
        return not self.is_full and super().is_persisted

    def _headline(self) -> str:
        return f"{self.key} = {self.value}" if isinstance(self.value, str) else self.key


class LLMCompletionLogEvent(Event):
    """One exchange with the LLM, where the LLM's `log_completions` is set."""

    filename: str
    log_data: str
    model_name: str = ""
    usage_id: str = ""


class StreamingDeltaEvent(Event):
    """A piece of a reply that the LLM is still writing."""

    content: str | None = None
    reasoning_content: str | None = None

    @property
    def is_persisted(self) -> bool:
        """Never."""
        return False


class TokenEvent(Event):
    """The token ids of one exchange with the LLM."""

    prompt_token_ids: list[int] = Field(default_factory=list)
    response_token_ids: list[int] = Field(default_factory=list)


class SecurityAnalysisEvent(Event):
    """The security analyzer's verdict on the agent's calls."""

    risks: dict[str, Any] = Field(default_factory=dict)


_MODELS: dict[str, type[Event]] = {
    model.__name__: model
    for model in (
        SystemPromptEvent,
        MessageEvent,
        ActionEvent,
        ObservationEvent,
        UserRejectObservation,
        AgentErrorEvent,
        ConversationErrorEvent,
        ServerErrorEvent,
        PauseEvent,
        InterruptEvent,
        HookExecutionEvent,
        Condensation,
        CondensationRequest,
        ACPToolCallEvent,
        ConversationStateUpdateEvent,
        LLMCompletionLogEvent,
        StreamingDeltaEvent,
        TokenEvent,
        SecurityAnalysisEvent,
    )
}


def parse_event(data: object) -> Event:
    """Return the event that the server sent as `data`, decoded JSON. Never raises."""
    raw = data if isinstance(data, dict) else {"value": data}
    model = _MODELS.get(as_text(raw.get("kind")), Event)
    try:
        return model.from_server(raw, raw)
    except (ValidationError, RecursionError):
        return _odd_event(raw)


def _odd_event(raw: dict[str, Any]) -> Event:
    """Return an event that is not what its kind promises; what is no text becomes one."""
    common = {
        name: as_text(raw[name])
        for name in Event.model_fields
        if name in raw and (name != "parent_id" or raw[name] is not None)
    }
    try:
        return Event.from_server({**raw, **common}, raw)
    except (ValidationError, RecursionError):  # its other fields are none either
        return Event.from_server(common, raw)
