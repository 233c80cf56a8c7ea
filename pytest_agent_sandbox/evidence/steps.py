"""Steps out of events.jsonl: what happened in conversations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_agent_sandbox.client.events import (
    ACPToolCallEvent,
    ActionEvent,
    AgentErrorEvent,
    Condensation,
    ConversationErrorEvent,
    ConversationStateUpdateEvent,
    Event,
    HookExecutionEvent,
    InterruptEvent,
    MessageEvent,
    ObservationEvent,
    PauseEvent,
    SystemPromptEvent,
    UserRejectObservation,
    parse_event,
)
from pytest_agent_sandbox.evidence.clock import Clock
from pytest_agent_sandbox.evidence.picture_files import names_in
from pytest_agent_sandbox.evidence.story import Fact, Part, Step

_SUMMARY = 300
_TITLE = 80
#: The label of what a tool call came to.
RESULT = "result"
#: The fact of a tool call that had not ended when all was over.
NO_RESULT: Fact = ("result", "none: it had not ended")
#: In which a conversation keeps a tool call waiting on purpose.
_MAY_WAIT = ("waiting_for_confirmation", "paused")
#: How a tool call goes on and ends.
_OUTCOMES = (ObservationEvent, UserRejectObservation, AgentErrorEvent, ACPToolCallEvent)


def build_step(event: Event) -> Step | None:
    """Build a step of an event by itself; None for what is no part of the story."""
    step = _build(event)
    if step is not None:
        step.is_error = step.is_error or event.is_error
    return step


class StepBuilder:
    """Builder of steps out of the events of conversations: a tool call and its result are one.

    Args:
        clock: Reads the server's times.
        end: When it was over: a call without a result is taken to have lasted until then.
    """

    def __init__(self, clock: Clock, end: float | None = None) -> None:
        self._clock = clock
        self._end = end
        self._waiting: dict[tuple[str, str], Step] = {}
        self._steps: list[Step] = []
        self._open: dict[tuple[str, str], Step] = {}
        self._latest: dict[str, float] = {}
        self._status: dict[str, str] = {}

    def build(self, records: Iterable[Mapping[str, Any]]) -> list[Step]:
        """Build the steps, in the order of the records: those of events.jsonl."""
        for record in records:
            self._add(record)
        for (conversation, _), step in self._waiting.items():
            if self._status.get(conversation) not in _MAY_WAIT:
                self._note_no_result(step)
        return self._steps

    def _note_no_result(self, step: Step) -> None:
        step.is_error = True
        step.facts.append(NO_RESULT)
        if self._end is not None and step.time is not None:
            step.duration = max(0.0, self._end - step.time)

    def _add(self, record: Mapping[str, Any]) -> None:
        conversation = str(record.get("conversation", ""))
        event, pictures = parse_event(record.get("event")), names_in(record)
        time = self._time(conversation, event)
        if isinstance(event, _OUTCOMES) and (conversation, event.tool_call_id) in self._open:
            call = self._open[conversation, event.tool_call_id]
            _add_outcome(call, event, time)
            call.pictures += [name for name in pictures if name not in call.pictures]
            if not isinstance(event, ACPToolCallEvent) or event.has_ended:
                self._waiting.pop((conversation, event.tool_call_id), None)
            return
        step = build_step(event)
        if step is None or self._is_known_status(conversation, event):
            return
        step.conversation, step.time, step.pictures = conversation, time, pictures
        if isinstance(event, ActionEvent | ACPToolCallEvent) and event.tool_call_id:
            self._open[conversation, event.tool_call_id] = step
            if isinstance(event, ActionEvent) or not event.has_ended:
                self._waiting[conversation, event.tool_call_id] = step
        self._steps.append(step)

    def _time(self, conversation: str, event: Event) -> float | None:
        """Return when it was, but never before the event before it: the order of the log holds."""
        time = self._clock.seconds(event.timestamp)
        if time is not None:
            time = max(time, self._latest.get(conversation, time))
            self._latest[conversation] = time
        return time

    def _is_known_status(self, conversation: str, event: Event) -> bool:
        if not isinstance(event, ConversationStateUpdateEvent):
            return False
        before = self._status.get(conversation)
        self._status[conversation] = str(event.value)
        return before == str(event.value)


def _build(event: Event) -> Step | None:  # noqa: PLR0911 - one answer for each kind
    match event:
        case MessageEvent():
            return _step("message", event.source, event.text, [Part(label="text", text=event.text)])
        case ActionEvent():
            return _action(event)
        case ObservationEvent() | UserRejectObservation() | AgentErrorEvent():
            # Its call is not among the events, or there was none that could be made.
            step = _step("error" if event.is_error else "tool", event.tool_name or "agent", "", [])
            _add_outcome(step, event, None)
            step.summary = _line(event.text)
            return step
        case ConversationErrorEvent():
            return _step("error", event.kind, event.text, [Part(label="detail", text=event.text)])
        case PauseEvent():
            return _step("state", "status", "paused", [])
        case InterruptEvent():
            return _step("state", "status", "interrupted", [])
        case ConversationStateUpdateEvent(key="execution_status"):
            step = _step("state", "status", str(event.value), [])
            step.is_error = event.value in ("error", "stuck")
            return step
        case ACPToolCallEvent():
            return _acp_call(event)
    return _aside(event)


def _aside(event: Event) -> Step | None:
    """Build a step of what is no part of a conversation's talk, but may explain it."""
    match event:
        case SystemPromptEvent():
            text = event.system_prompt.text or ""
            return _step("other", "system prompt", text, [Part(label="prompt", text=text)])
        case HookExecutionEvent():
            return _hook(event)
        case Condensation():
            text = event.summary or f"{len(event.forgotten_event_ids)} events forgotten"
            return _step("other", "condensation", text, [Part(label="summary", text=text)])
        case ConversationStateUpdateEvent():
            return None
    if not event.is_persisted:
        return None
    return _step("other", event.kind or "event", event.text, [_any("event", event.raw)])


def _action(event: ActionEvent) -> Step:
    parts = []
    if event.reasoning_content:
        parts.append(Part(label="reasoning", text=event.reasoning_content))
    if event.text:
        parts.append(Part(label="thought", text=event.text))
    # An agent ends by a tool call; what it says in it is its answer.
    parts += _arguments(event.arguments)
    if event.action is None and event.tool_call.get("arguments"):
        parts.append(Part(label="arguments as written", text=str(event.tool_call["arguments"])))
    step = _step("tool", event.tool_name, _argument_line(event.arguments), parts)
    step.tool = event.tool_name
    if event.security_risk not in (None, "UNKNOWN"):
        step.facts.append(("risk", str(event.security_risk).lower()))
    return step


def _acp_call(event: ACPToolCallEvent) -> Step:
    name, given = event.tool_name or "tool", event.raw_input
    if given is None:
        parts: Iterable[Part] = ()
    else:
        parts = _arguments(given) if isinstance(given, Mapping) else [_any("input", given)]
    step = _step("tool", name, _argument_line(given) or event.title, list(parts))
    step.tool = name
    if event.text:
        step.parts.append(Part(label=RESULT, text=event.text, format="terminal"))
    if event.status:
        step.facts.append(("status", event.status))
    return step


def _add_news(step: Step, event: ACPToolCallEvent) -> None:
    """Add the news of a call, each of which repeats what is known of it, or leaves that out."""
    now = _acp_call(event)
    told = {part.label for part in now.parts}
    step.parts = [part for part in step.parts if part.label not in told] + now.parts
    if event.raw_input:  # it may come late
        step.summary = now.summary
    step.facts = now.facts or step.facts
    step.is_error = step.is_error or event.is_error


def _arguments(arguments: Mapping[str, Any]) -> Iterator[Part]:
    """Yield a part for each text, and one for all the rest."""
    given = {
        name: value
        for name, value in arguments.items()
        if value is not None and value is not False and value != ""
    }
    for name, value in given.items():
        if isinstance(value, str):
            yield Part(label=name, text=value)
    rest = {name: value for name, value in given.items() if not isinstance(value, str)}
    if rest:
        yield _any("arguments", rest)


def _add_outcome(step: Step, event: Event, time: float | None) -> None:
    """Add how a tool call ended."""
    if time is not None and step.time is not None:
        step.duration = time - step.time
    match event:
        case ObservationEvent():
            step.parts.append(Part(label=RESULT, text=event.text, format="terminal"))
            code = (event.observation.model_extra or {}).get("exit_code")
            if isinstance(code, int):
                step.facts.append(("exit code", str(code)))
                step.is_error = step.is_error or code != 0
            step.is_error = step.is_error or event.is_error
        case UserRejectObservation():
            step.parts.append(Part(label="rejected", text=event.text))
        case AgentErrorEvent():
            step.parts.append(Part(label="error", text=event.text))
            step.is_error = True
        case ACPToolCallEvent():
            _add_news(step, event)


def _hook(event: HookExecutionEvent) -> Step:
    text = "blocked" if event.blocked else f"exit code {event.exit_code}"
    outputs = {"output": event.stdout, "errors": event.stderr}
    parts = [
        Part(label=label, text=output, format="terminal")
        for label, output in outputs.items()
        if output
    ]
    step = _step("other", f"hook {event.hook_event_type}", text, parts)
    step.is_error = event.blocked
    return step


def _step(kind: Any, title: str, text: str, parts: list[Part]) -> Step:
    parts = [part for part in parts if part.text]
    return Step(kind=kind, title=_line(title, _TITLE), summary=_line(text), parts=parts)


def _argument_line(arguments: Any) -> str:
    """Put arguments on one line; a single one without its name, so that commands read well.

    A number, or a yes, says nothing without its name.
    """
    if not isinstance(arguments, Mapping):
        return "" if arguments is None else _plain(arguments)
    given = {
        name: value
        for name, value in arguments.items()
        if value is not None and value is not False and value != ""
    }
    if len(given) == 1 and not isinstance(value := next(iter(given.values())), int | float):
        return _plain(value)
    return "  ".join(f"{name}: {_line(_plain(value), 80)}" for name, value in given.items())


def _any(label: str, value: Any) -> Part:
    if isinstance(value, str):
        return Part(label=label, text=value)
    return Part(label=label, text=_json(value, 1), format="json")


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: Any, indent: int | None = None) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, indent=indent, default=str)
    except RecursionError:
        return "(nested too deeply to be shown)"


def _line(text: str, limit: int = _SUMMARY) -> str:
    """Put a text on one line; its beginning where it is long."""
    # Cut first: the text may be many megabytes.
    line = " ".join(text[: 4 * limit].split())
    return line if len(line) <= limit else f"{line[:limit]}…"
