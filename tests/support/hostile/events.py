"""Events and frames of a hostile server, and what a client does with all of them."""

from __future__ import annotations

import json
import random
import re
from typing import Any

from pytest_agent_sandbox.client import events as models
from pytest_agent_sandbox.client.conversation_state import ConversationState
from pytest_agent_sandbox.client.event_log import EventLog
from pytest_agent_sandbox.client.events import (
    FULL_STATE,
    ConversationStateUpdateEvent,
    Event,
    parse_event,
)
from pytest_agent_sandbox.client.run_watch import RunWatch

KINDS = [
    *sorted(
        name
        for name, model in vars(models).items()
        if isinstance(model, type) and issubclass(model, Event)
    ),
    "FutureEvent",
    "",
]
FIELDS = sorted(
    {
        field
        for name in KINDS
        if (model := getattr(models, name, None)) is not None
        for field in model.model_fields
    }
    | {"role", "content", "type", "text", "is_error", "execution_status", "stats", "arguments"}
    | {"usage_to_metrics", "accumulated_cost", "accumulated_token_usage", "prompt_tokens"}
)
TEXTS = [
    "",
    "agent",
    "user",
    "finish",
    "terminal",
    FULL_STATE,
    "running",
    "finished",
    "error",
    "\x00\x07\x1b[2J\x1b]8;;http://evil\x07click\x1b]8;;\x07",
    "</script><script>alert(1)</script><!--",
    "<img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "../../../etc/passwd",
    "..\\..\\windows",
    "\u202egnp.exe\u2066\u200b",
    "\ud800 half a pair",
    "a\r\nSet-Cookie: b",
    "{" * 50,
    "é" * 3000,
    "%s%n{0}${x}",
    "NaN",
]
NUMBERS = [0, -1, 1, 2**63, -(2**63), 10**300, 1.5, float("inf"), float("-inf"), float("nan")]


def value(source: random.Random, depth: int = 3) -> Any:
    """Any JSON value."""
    kind = source.randrange(10)
    if kind < 4 or depth == 0:
        return source.choice(TEXTS)
    if kind < 6:
        return source.choice(NUMBERS)
    if kind == 6:
        return source.choice([None, True, False])
    if kind == 7:
        return [value(source, depth - 1) for _ in range(source.randrange(4))]
    return {
        source.choice(FIELDS + TEXTS): value(source, depth - 1) for _ in range(source.randrange(6))
    }


def event(source: random.Random) -> Any:
    """What may come as an event: mostly something like one."""
    if source.randrange(20) == 0:
        return value(source)
    data = {source.choice(FIELDS): value(source) for _ in range(source.randrange(8))}
    data["kind"] = source.choice(KINDS) if source.randrange(10) else value(source)
    model = getattr(models, str(data["kind"]) if isinstance(data["kind"], str) else "", None)
    if model is not None and source.randrange(2):
        for name, field in model.model_fields.items():  # all it promises, in the right form
            data[name] = _fitting(str(field.annotation), source)
    return data


def _fitting(annotation: str, source: random.Random) -> Any:
    """Something of a field's type."""
    text = source.choice(TEXTS)
    content = [{"type": "text", "text": text}, {"type": "image", "image_urls": [text]}]
    fitting = {
        "Message": {"role": text, "content": content},
        "Observation": {"content": content, "is_error": bool(source.randrange(2)), "x": text},
        "list[Content]": content,
        "Content": content[0],
        "list": [],
        "dict": {source.choice(FIELDS): value(source)},
        "int": source.choice([0, 1, -5]),
        "bool": True,
    }
    plain = re.sub(r"pytest_agent_sandbox\.client\.\w+\.", "", annotation)
    return next((found for name, found in fitting.items() if name in plain), text)


class Client:
    """What a conversation does with its events, and tests ask of them; no socket in between."""

    def __init__(self) -> None:
        self.log = EventLog()
        self.state = ConversationState("id", dict)
        self.watch = RunWatch(will_run=True)

    def take(self, data: Any) -> Event:
        """Takes an event, as decoded JSON."""
        found = parse_event(data)
        assert isinstance(found, Event)
        for text in (str(found), repr(found), found.text, found.id, found.kind, found.source):
            assert isinstance(text, str)
        assert isinstance(found.is_error, bool)
        if isinstance(found, ConversationStateUpdateEvent):
            self.state.apply(found)
        self.watch.observe(found, opening=False)
        if found.is_persisted:
            self.log.add(found)
        return found

    def ask(self) -> None:
        """Asks what tests ask."""
        for call in self.log.tool_calls():
            assert isinstance(call.name, str)
            assert isinstance(call.arguments, dict)
            assert isinstance(call.is_error, bool)
        self.log.messages("agent")
        self.log.errors()
        assert isinstance(self.log.final_message, str | None)
        assert isinstance(self.state.execution_status, str)
        metrics = self.state.stats.get_combined_metrics()
        assert isinstance(metrics.accumulated_cost, float)
        assert isinstance(metrics.accumulated_token_usage.prompt_tokens, int)


def run(seed: int, count: int) -> None:
    """Takes so many events, those of some as frames of JSON that was changed on its way."""
    source = random.Random(seed)
    client = Client()
    for number in range(count):
        data = event(source)
        if source.randrange(4) == 0:
            data = _on_the_wire(data, source)
        client.take(data)
        if number % 200 == 199:
            client.ask()
            client = Client()
    client.ask()


def _on_the_wire(data: Any, source: random.Random) -> Any:
    """The event as it comes from a frame of which some bytes are others."""
    from pytest_agent_sandbox.client.answers import decode

    frame = bytearray(json.dumps(data).encode())
    for _ in range(source.randrange(4)):
        place = source.randrange(len(frame) + 1)
        frame[place : place + source.randrange(3)] = source.randbytes(source.randrange(4))
    try:
        return decode(bytes(frame))
    except ValueError:
        return frame.decode(errors="replace")
