"""Replay: a recorded answer sent again."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence

from pytest_agent_sandbox.llm.cassettes.cassette import RecordedAnswer, RecordedEvent
from pytest_agent_sandbox.llm.exchange import (
    FIRST_ERROR,
    Answer,
    Exchange,
    raw_headers,
    whole_answer,
)
from pytest_agent_sandbox.llm.sse import encode_event


def replay(recorded: RecordedAnswer, exchange: Exchange) -> Answer:
    """Return a recorded answer to send again: its events one by one, without the waits between."""
    exchange.call.origin, exchange.call.cost = "replayed", recorded.cost
    if recorded.status >= FIRST_ERROR:
        exchange.call.problem = f"The provider answered {recorded.status}."
    if recorded.events is not None:
        return Answer(recorded.status, raw_headers(recorded.headers), _events(recorded.events))
    body = recorded.body
    if not isinstance(body, bytes):
        text = body if isinstance(body, str) else json.dumps(body)
        body = text.encode("utf-8", "surrogatepass")
    return whole_answer(body, recorded.status, recorded.headers)


async def _events(events: Sequence[RecordedEvent]) -> AsyncGenerator[bytes, None]:
    for event in events:
        yield encode_event(event.data, event.name)
