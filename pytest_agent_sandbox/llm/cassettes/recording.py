"""Recording: an answer kept as it is passed on, chunk by chunk; and playing it again."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from pytest_agent_sandbox.llm.cassettes.canonical import CanonicalRequest
from pytest_agent_sandbox.llm.cassettes.cassette import Interaction, RecordedAnswer, RecordedEvent
from pytest_agent_sandbox.llm.cassettes.held import HeldRequest
from pytest_agent_sandbox.llm.exchange import (
    FIRST_ERROR,
    Answer,
    Exchange,
    raw_headers,
    whole_answer,
)
from pytest_agent_sandbox.llm.sse import EventSplitter, ServerSentEvent, encode_event

#: The headers that are kept: what a client acts on. All others may tell who recorded.
_KEPT_HEADERS = ("content-type", "retry-after", "x-should-retry")
#: Errors after which a client asks again. A replay needs neither them nor the wait.
_TRANSIENT = {408, 409, 425, 429}
_FIRST_SERVER_ERROR = 500

State = Literal["open", "kept", "dropped", "broken", "unreadable"]


class Recording:
    """One answer of a provider, kept while it is passed on.

    Args:
        exchange: The request; it is not kept, for it may be large.
        request: The same, held.
    """

    def __init__(self, exchange: Exchange, request: HeldRequest) -> None:
        self.request = request
        self.call = exchange.call
        #: The same for requests that are asked again.
        self.digest = hashlib.sha256(exchange.body).digest()
        self._dialect = exchange.dialect
        self._asks_model = exchange.asks_model
        #: `open` while it comes; `dropped` where it is of no use for a replay, `broken` where the
        #: end is missing, `unreadable` where it is encoded in a way that is not known here.
        self.state: State = "open"
        #: Of an `unreadable` answer.
        self.encoding = ""
        self._began = time.monotonic()
        self._ms = 0
        self._status = 0
        self._headers: dict[str, str] = {}
        self._is_stream = False
        self._body = bytearray()
        #: Milliseconds, name and data of each.
        self._events: list[tuple[int, str, str]] = []
        self._has_end = False
        #: Whether the last event so far is more than the beginning of one.
        self._is_event_whole = False

    def keep(self, answer: Answer) -> Answer:
        """The same answer; what passes is kept."""
        if answer.status in _TRANSIENT or answer.status >= _FIRST_SERVER_ERROR:
            self.state = "dropped"
            return answer
        if answer.encoding:
            self.state, self.encoding = "unreadable", answer.encoding
            return answer
        self._status, self._is_stream = answer.status, answer.is_stream
        headers = {name.decode(): value.decode("latin-1") for name, value in answer.headers}
        self._headers = {name: headers[name] for name in _KEPT_HEADERS if name in headers}
        return Answer(answer.status, answer.headers, self._kept(answer))

    @property
    def was_asked(self) -> bool:
        """Whether the request got as far as to the provider."""
        return self.call.origin == "recorded"

    def abandon(self) -> None:
        """Nothing more will come."""
        if self.state == "open":
            self.state = "broken"

    def interaction(self, request: CanonicalRequest, scrub: Callable[[str], str]) -> Interaction:
        """What is to be written.

        Args:
            request: The canonical form of the request.
            scrub: Masks secrets.
        """
        answer = RecordedAnswer(
            self._status,
            self._headers,
            self.call.cost if self._status < FIRST_ERROR else None,
            self._ms,
            None if self._is_stream else _parsed(bytes(self._body)),
            self._recorded_events() if self._is_stream else None,
        )
        return Interaction(request, scrubbed_answer(answer, scrub))

    async def _kept(self, answer: Answer) -> AsyncGenerator[bytes, None]:
        splitter = EventSplitter()
        try:
            async for chunk in answer.chunks:
                if self._is_stream:
                    self._keep_events(splitter.feed(chunk))
                else:
                    self._body += chunk
                    if len(self._body) == answer.length and self._seems_whole(answer):
                        self._complete()
                yield chunk
            if rest := splitter.end():
                self._keep_events(rest)
                self._is_event_whole = False
            if self._seems_whole(answer):
                self._complete()
        finally:
            self.abandon()
            await answer.aclose()

    def _keep_events(self, events: Sequence[ServerSentEvent]) -> None:
        for event in events:
            self._events.append((self._now(), event.name, event.data))
            self._is_event_whole = bool(event.content) or not event.data
            if self._dialect.is_failure(event):
                self.state = "dropped"  # like an error by status
            self._has_end = self._has_end or self._dialect.ends_answer(event)
            if self._dialect.is_last(event):
                self._complete()  # a client may hang up now

    def _seems_whole(self, answer: Answer) -> bool:
        """Whether an answer that has ended in good order is one: a proxy may have cut it off."""
        if not self._asks_model or self._status >= FIRST_ERROR:
            return True
        if self._is_stream:
            return self._has_end or (
                self._dialect.may_end_unsaid and answer.is_framed and self._is_event_whole
            )
        return isinstance(_parsed(bytes(self._body)), dict | list)

    def _complete(self) -> None:
        if self.state == "open":
            self._ms = self._now()
            self.state = "kept"

    def _now(self) -> int:
        return round((time.monotonic() - self._began) * 1000)

    def _recorded_events(self) -> tuple[RecordedEvent, ...]:
        return tuple(
            RecordedEvent(ms, name, _parsed(data.encode("utf-8", "surrogatepass")))
            for ms, name, data in self._events
            if data or name
        )


def play(recorded: RecordedAnswer, exchange: Exchange) -> Answer:
    """A recorded answer, served again: its events one by one, without the waits between them."""
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


def scrubbed_answer(recorded: RecordedAnswer, scrub: Callable[[str], str]) -> RecordedAnswer:
    """A recorded answer without secrets that were not known when it was recorded."""
    if recorded.events is None:
        return replace(recorded, body=scrubbed(recorded.body, scrub))
    contents = scrubbed_stream([event.data for event in recorded.events], scrub)
    pairs = zip(recorded.events, contents, strict=True)
    return replace(recorded, events=tuple(replace(event, data=data) for event, data in pairs))


def scrubbed(value: Any, scrub: Callable[[str], str]) -> Any:
    """JSON with the secrets in its texts masked."""
    match value:
        case str():
            return scrub(value)
        case bytes():
            return scrub(value.decode("latin-1")).encode("latin-1")
        case list():
            return [scrubbed(item, scrub) for item in value]
        case dict():
            return {scrub(name): scrubbed(item, scrub) for name, item in value.items()}
    return value


def scrubbed_stream(contents: Sequence[Any], scrub: Callable[[str], str]) -> list[Any]:
    """The contents of a stream's events, scrubbed; also of a secret that is cut over several.

    A model says a word in pieces, one an event. Where the joined pieces hold a secret, the first of
    them gets the whole text, masked, and the others are empty.
    """
    cleaned = [scrubbed(content, scrub) for content in contents]
    texts: dict[str, list[tuple[Any, Any]]] = {}
    _collect(cleaned, "", texts)
    for places in texts.values():
        joined = "".join(owner[name] for owner, name in places)
        masked = scrub(joined)
        if masked != joined:
            for position, (owner, name) in enumerate(places):
                owner[name] = masked if position == 0 else ""
    return cleaned


def _collect(value: Any, path: str, texts: dict[str, list[tuple[Any, Any]]]) -> None:
    """The places of all texts, by the path that the pieces of one text share."""
    if isinstance(value, Mapping):
        numbers = [value.get(name) for name in ("index", "output_index", "content_index")]
        path = f"{path}/{numbers}"
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    for name, item in items:
        inner = f"{path}/{name}" if isinstance(value, Mapping) else path
        if isinstance(item, str):
            texts.setdefault(inner, []).append((value, name))
        elif isinstance(item, dict | list):
            _collect(item, inner, texts)


def _parsed(body: bytes) -> Any:
    """A body as an object or a list where it is JSON, else as text, or bytes where it is none."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return body
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return content if isinstance(content, dict | list) else text
