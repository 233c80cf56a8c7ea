"""The events of a conversation, in order, and the questions that a test asks about them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

from pytest_agent_sandbox.client.events import (
    ACPToolCallEvent,
    ActionEvent,
    AgentErrorEvent,
    Event,
    MessageEvent,
    ObservationEvent,
    UserRejectObservation,
)

_FINISH_TOOL = "finish"

#: What answers a tool call.
Result = ObservationEvent | AgentErrorEvent | UserRejectObservation


@dataclass(frozen=True)
class ToolCall:
    """A tool call together with what came of it.

    Attributes:
        name: The tool's name. For an ACP agent: its kind (`execute`, `edit`), or else the title.
        arguments: As the tool understood them; `{"input": …}` where an ACP agent gave no names.
        result: The result's text; None while there is none.
        is_error: True when the tool reported a failure, the call could not be carried out, or the
            user refused it. A command's exit code alone is none: see `observation`.
        action: The event of the call.
        observation: The event of the result; None while there is none.
    """

    name: str
    arguments: dict[str, Any]
    result: str | None
    is_error: bool
    action: ActionEvent | ACPToolCallEvent
    observation: Result | ACPToolCallEvent | None

    @property
    def risk(self) -> str:
        """How risky a security analyzer found it: `LOW`, `MEDIUM`, `HIGH`, or else `UNKNOWN`."""
        risk = self.action.security_risk if isinstance(self.action, ActionEvent) else None
        return risk or "UNKNOWN"


class EventLog(Sequence[Event]):
    """The events of one conversation in the order of the server's log, each once.

    It grows while the conversation goes on; every query answers for the moment it is asked. Events
    that the server does not keep (whole states, streamed pieces of a reply) are not in it.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._ids: set[str] = set()
        self._lock = threading.Lock()

    def add(self, event: Event) -> bool:
        """Append an event, unless it is there already; return whether it was new."""
        with self._lock:
            if event.id in self._ids:
                return False
            self._ids.add(event.id)
            self._events.append(event)
            return True

    @property
    def last_id(self) -> str | None:
        """The id of the last event; None in an empty log."""
        with self._lock:
            return self._events[-1].id if self._events else None

    def tool_calls(self, name: str | None = None) -> list[ToolCall]:
        """Return the agent's tool calls in order, each with its result.

        Args:
            name: Only the calls of this tool, such as `terminal`; all by default.
        """
        calls = _tool_calls(self._snapshot())
        return [call for call in calls if name is None or call.name == name]

    def messages(self, source: str | None = None) -> list[MessageEvent]:
        """Return what was said.

        Args:
            source: Only messages of the `agent`, the `user` or the `environment`; all by default.
        """
        return [
            event
            for event in self._snapshot()
            if isinstance(event, MessageEvent) and source in (None, event.source)
        ]

    def errors(self) -> list[Event]:
        """Return what failed: the run, the server, a call that could not be made, a tool.

        An agent may have recovered from the latter two. A command's exit code alone is no error.
        """
        return [event for event in self._snapshot() if event.is_error]

    @property
    def final_message(self) -> str | None:
        """What the agent said last, by a message or with its finish tool; None if nothing."""
        for event in reversed(self._snapshot()):
            if isinstance(event, MessageEvent) and event.source == "agent":
                return event.text
            if isinstance(event, ActionEvent) and event.tool_name == _FINISH_TOOL:
                return str(event.arguments.get("message", ""))
        return None

    def __len__(self) -> int:
        with self._lock:
            return len(self._events)

    @overload
    def __getitem__(self, index: int) -> Event: ...

    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...

    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        with self._lock:
            return self._events[index]

    def __iter__(self) -> Iterator[Event]:
        return iter(self._snapshot())

    def __repr__(self) -> str:
        return f"<EventLog of {len(self)} events>"

    def _snapshot(self) -> list[Event]:
        with self._lock:
            return list(self._events)


def _tool_calls(events: list[Event]) -> list[ToolCall]:
    places: dict[str, int] = {}  # a call's ids -> its place in `calls`
    calls: list[ToolCall] = []
    for event in events:
        if isinstance(event, ActionEvent):
            # A provider may use an id again: a result then belongs to the latest call of that id.
            places[event.id] = places[event.tool_call_id] = len(calls)
            calls.append(ToolCall(event.tool_name, event.arguments, None, False, event, None))
        elif isinstance(event, Result):
            answered = getattr(event, "action_id", None)  # an AgentErrorEvent promises none
            place = places.get(answered if isinstance(answered, str) else event.tool_call_id)
            if place is not None:
                calls[place] = _answered(calls[place], event)
        elif isinstance(event, ACPToolCallEvent):
            place = places.setdefault(event.tool_call_id, len(calls))
            if place == len(calls):
                calls.append(_acp_call(event, event))
            else:
                calls[place] = _acp_call(calls[place].action, event)
    return calls


def _answered(call: ToolCall, result: Result) -> ToolCall:
    failed = result.is_error or isinstance(result, UserRejectObservation)
    return ToolCall(call.name, call.arguments, result.text, failed, call.action, result)


def _acp_call(first: ActionEvent | ACPToolCallEvent, latest: ACPToolCallEvent) -> ToolCall:
    """Join the first and the latest news of an ACP agent's call: each repeats what is known."""
    written = latest.raw_input
    if written is None and isinstance(first, ACPToolCallEvent):
        written = first.raw_input
    if isinstance(written, dict):
        arguments = written
    else:
        arguments = {} if written is None else {"input": written}
    return ToolCall(
        name=latest.tool_name,
        arguments=arguments,
        result=latest.text if latest.has_ended else latest.text or None,
        is_error=latest.is_error,
        action=first,
        observation=latest if latest.has_ended else None,
    )
