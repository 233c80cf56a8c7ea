"""A conversation as a timeline that a person reads in ten seconds."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pytest_agent_sandbox.client.events import (
    ActionEvent,
    AgentErrorEvent,
    ConversationErrorEvent,
    ConversationStateUpdateEvent,
    Event,
    InterruptEvent,
    MessageEvent,
    ObservationEvent,
    PauseEvent,
    SystemPromptEvent,
    UserRejectObservation,
)

_WIDTH = 100
_LINES = 6
_ENTRIES = 60
_STATUS = "status"
_MARGIN = " " * 20


@dataclass(frozen=True)
class _Entry:
    conversation: str
    time: datetime | None
    who: str
    text: str


class Transcript:
    """Collects the events of a test's conversations, and renders those that tell the story.

    Args:
        mask: Masks the secrets in a text.
    """

    def __init__(self, mask: Callable[[str], str] = str) -> None:
        # Texts are masked whole, before they are shortened: half a secret is one still.
        self._mask = mask
        self._entries: list[_Entry] = []
        self._last_status: dict[str, str] = {}

    def add(self, conversation_id: str, event: Event) -> None:
        """Adds one event; events come in the order of the server's log."""
        described = describe(event)
        if described is None:
            return
        who, text = described
        if who == _STATUS:
            if self._last_status.get(conversation_id) == text:
                return
            self._last_status[conversation_id] = text
        self._entries.append(_Entry(conversation_id, _time(event.timestamp), who, self._mask(text)))

    def render(self) -> str:
        """The timeline: time, who, what; long texts are shortened, the files hold them in full."""
        if not self._entries:
            return ""
        hidden = len(self._entries) - _ENTRIES
        shown = self._entries[-_ENTRIES:] if hidden > 0 else self._entries
        started = next((entry.time for entry in self._entries if entry.time), None)
        lines = [f"… {hidden} earlier steps are in events.jsonl"] if hidden > 0 else []
        conversation = ""
        several = len({entry.conversation for entry in self._entries}) > 1
        for entry in shown:
            if several and entry.conversation != conversation:
                conversation = entry.conversation
                lines.append(f"conversation {conversation}")
            lines.append(_line(entry, started))
        return "\n".join(lines) + "\n"


class LivePrinter:
    """A callback that prints each event that is part of the story, as it comes."""

    def __init__(self) -> None:
        self._started: datetime | None = None

    def __call__(self, event: Event) -> None:
        """Prints one event to standard output."""
        described = describe(event)
        if described is None:
            return
        time = _time(event.timestamp)
        self._started = self._started or time
        sys.stdout.write(_line(_Entry("", time, *described), self._started) + "\n")
        sys.stdout.flush()


def describe(event: Event) -> tuple[str, str] | None:  # noqa: PLR0911 - one answer for each kind
    """Who did what; None for an event that is not part of the story."""
    match event:
        case MessageEvent():
            return event.source, event.text
        case ActionEvent():
            call = f"{event.tool_name}  {_arguments(event)}"
            return "agent", f"{event.text}\n{call}" if event.text else call
        case ObservationEvent():
            return ("error" if event.is_error else "result"), event.text or "(no output)"
        case AgentErrorEvent() | ConversationErrorEvent():
            return "error", event.text
        case UserRejectObservation():
            return "user", f"rejected {event.tool_name}: {event.text}"
        case PauseEvent():
            return _STATUS, "paused"
        case InterruptEvent():
            return _STATUS, "interrupted"
        case ConversationStateUpdateEvent(key="execution_status"):
            return _STATUS, str(event.value)
        case SystemPromptEvent() | ConversationStateUpdateEvent():
            return None
    return (event.source or "event", event.kind) if event.is_persisted else None


def _arguments(event: ActionEvent) -> str:
    """`name: value` pairs; a value on one line stays as it is, so that commands read well."""
    parts = []
    for name, value in event.arguments.items():
        if value is None or value is False or value == "":
            continue
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        parts.append(f"{name}: {text}")
    return "  ".join(parts)


def _line(entry: _Entry, started: datetime | None) -> str:
    seconds = (entry.time - started).total_seconds() if entry.time and started else None
    clock = f"{seconds:8.2f}s" if seconds is not None else " " * 9
    first, *rest = _shortened(entry.text)
    return "\n".join([f"{clock}  {entry.who:<7}  {first}", *(f"{_MARGIN}{line}" for line in rest)])


def _shortened(text: str) -> list[str]:
    lines = [
        line if len(line) <= _WIDTH else f"{line[:_WIDTH]}… ({len(line)} characters)"
        for line in text.strip().splitlines()
    ]
    if len(lines) > _LINES:
        lines[_LINES - 1 :] = [f"… {len(lines) - _LINES + 1} more lines"]
    return lines or [""]


def _time(timestamp: str) -> datetime | None:
    """The server's clock, without a zone: only differences mean anything."""
    try:
        return datetime.fromisoformat(timestamp).replace(tzinfo=None)
    except ValueError:
        return None
