"""The events of a conversation, as the agent server sends them.

Servers and this package are of different ages, so that nothing here refuses what it does not know:
unknown kinds become an `Event`, unknown fields stay, and an event that is not what its kind
promises becomes an `Event` too. A class is named as the server names the kind.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from pytest_agent_sandbox.client.acp_content import acp_text
from pytest_agent_sandbox.client.answers import as_text

#: Under this key a state update carries the whole state instead of one field.
FULL_STATE = "full_state"

_HEADLINE_LENGTH = 200
#: The call of a tool of an MCP server, whose arguments are one of its fields.
_MCP_ACTION = "MCPToolAction"


class Event(BaseModel):
    """What all events have in common, and what an event of an unknown kind is."""

    model_config = ConfigDict(extra="allow", frozen=True)

    id: str = ""
    #: The server's local time, without a zone: order events by their place in the log instead.
    timestamp: str = ""
    #: `agent`, `user` or `environment`.
    source: str = ""
    kind: str = ""
    parent_id: str | None = None

    _raw: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def raw(self) -> dict[str, Any]:
        """The event as the server sent it."""
        return self._raw

    @property
    def is_persisted(self) -> bool:
        """Whether the server keeps this event in its log; the others pass by once."""
        return bool(self.id)

    @property
    def is_error(self) -> bool:
        """Whether this event says that something failed."""
        return False

    @property
    def text(self) -> str:
        """What this event says in words, if anything."""
        return ""

    def __str__(self) -> str:
        text = " ".join(self._headline().split())
        if len(text) > _HEADLINE_LENGTH:
            text = text[:_HEADLINE_LENGTH] + "…"
        name = self.kind or type(self).__name__
        return f"{name} ({self.source}): {text}" if text else f"{name} ({self.source})"

    def __repr__(self) -> str:
        return f"<{self} id={self.id}>"

    def _headline(self) -> str:
        return self.text


class Content(BaseModel):
    """One part of a message or a result; anything but text is in the extra fields."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str = "text"
    text: str | None = None


class Message(BaseModel):
    """A message of a language model's conversation."""

    model_config = ConfigDict(extra="allow", frozen=True)

    role: str
    content: list[Content] = Field(default_factory=list)


class Observation(BaseModel):
    """What a tool reported; what only this tool reports (`exit_code`) is in the extra fields."""

    model_config = ConfigDict(extra="allow", frozen=True)

    content: list[Content] = Field(default_factory=list)
    is_error: bool = False


class SystemPromptEvent(Event):
    """What the agent was told before anything else."""

    system_prompt: Content
    tools: list[Any] = Field(default_factory=list)


class MessageEvent(Event):
    """Somebody said something; `source` says who."""

    llm_message: Message
    sender: str | None = None

    @property
    def text(self) -> str:
        """The message's text."""
        return _text(self.llm_message.content)


class ActionEvent(Event):
    """The agent calls a tool."""

    tool_name: str
    tool_call_id: str
    #: The call as the tool understood it; None where it did not.
    action: dict[str, Any] | None = None
    #: The call as the LLM wrote it.
    tool_call: dict[str, Any] = Field(default_factory=dict)
    thought: list[Content] = Field(default_factory=list)
    reasoning_content: str | None = None
    security_risk: str | None = None
    summary: str | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """The call's arguments: as the tool understood them, or else as the LLM wrote them."""
        if self.action is not None:
            of_mcp = self.action.get("data") if self.action.get("kind") == _MCP_ACTION else None
            if isinstance(of_mcp, dict):
                return of_mcp
            return {name: value for name, value in self.action.items() if name != "kind"}
        try:
            written = json.loads(self.tool_call.get("arguments", ""))
        except (TypeError, ValueError):
            return {}
        return written if isinstance(written, dict) else {}

    @property
    def text(self) -> str:
        """What the agent said along with the call."""
        return _text(self.thought)

    def _headline(self) -> str:
        return f"{self.tool_name} {json.dumps(self.arguments, ensure_ascii=False)}"


class ObservationEvent(Event):
    """A tool's result."""

    tool_name: str
    tool_call_id: str
    action_id: str
    observation: Observation

    @property
    def text(self) -> str:
        """The result's text."""
        return _text(self.observation.content)

    @property
    def is_error(self) -> bool:
        """Whether the tool reported a failure. A command's exit code alone is none."""
        return self.observation.is_error

    def _headline(self) -> str:
        return f"{self.tool_name}: {self.text}"


class UserRejectObservation(Event):
    """The user refused a tool call that waited for confirmation."""

    tool_name: str
    tool_call_id: str
    action_id: str
    rejection_reason: str = ""

    @property
    def text(self) -> str:
        """The reason."""
        return self.rejection_reason


class AgentErrorEvent(Event):
    """A tool call that could not be carried out. The agent is told, and may do better."""

    error: str
    tool_name: str = ""
    tool_call_id: str = ""

    @property
    def text(self) -> str:
        """What was wrong."""
        return self.error

    @property
    def is_error(self) -> bool:
        """Always."""
        return True


class ConversationErrorEvent(Event):
    """The run failed."""

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
    """The server failed, beside the run."""


class PauseEvent(Event):
    """Somebody asked for a pause."""


class InterruptEvent(Event):
    """Somebody stopped the run."""


class HookExecutionEvent(Event):
    """A hook ran."""

    hook_event_type: str
    blocked: bool = False
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""


class Condensation(Event):
    """Older events were replaced by a summary, in what the LLM gets to see."""

    forgotten_event_ids: list[str] = Field(default_factory=list)
    summary: str | None = None


class CondensationRequest(Event):
    """Somebody asked for a condensation."""


class ACPToolCallEvent(Event):
    """News of a tool call of an ACP agent; a call has several, `EventLog.tool_calls` joins them."""

    tool_call_id: str
    title: str = ""
    status: str | None = None
    tool_kind: str | None = None
    raw_input: Any = None
    raw_output: Any = None
    content: list[Any] | None = None
    failed: bool = Field(default=False, alias="is_error")

    @property
    def tool_name(self) -> str:
        """The kind of the tool (`execute`, `edit`); where that says nothing, the call's title."""
        return self.title if self.tool_kind in (None, "", "other") else str(self.tool_kind)

    @property
    def has_ended(self) -> bool:
        """Whether this is the last news of the call."""
        return self.status in ("completed", "failed")

    @property
    def is_error(self) -> bool:
        """Whether the call failed."""
        return self.failed

    @property
    def text(self) -> str:
        """The result: as a text where the agent gave one, else as JSON."""
        output = self.raw_output
        if isinstance(output, dict):  # as Codex has it
            output = output.get("formatted_output")
        if isinstance(output, str) and output:
            return output
        shown = acp_text(self.content or [])
        if shown or self.raw_output is None:
            return shown
        return json.dumps(self.raw_output, ensure_ascii=False)

    def _headline(self) -> str:
        return f"{self.title} {self.status or ''}"


class ConversationStateUpdateEvent(Event):
    """One field of the conversation's state changed, or here is all of it."""

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
    """How risky the security analyzer finds the agent's calls."""

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
        event = model.model_validate(raw)
    except (ValidationError, RecursionError):
        event = _odd_event(raw)
    event._raw = raw
    return event


def _odd_event(raw: dict[str, Any]) -> Event:
    """Return an event that is not what its kind promises; what is no text becomes one."""
    common = {
        name: as_text(raw[name])
        for name in Event.model_fields
        if name in raw and (name != "parent_id" or raw[name] is not None)
    }
    try:
        return Event.model_validate({**raw, **common})
    except (ValidationError, RecursionError):  # its other fields are none either
        return Event.model_validate(common)


def _text(parts: list[Content]) -> str:
    return "".join(part.text or "" for part in parts)
