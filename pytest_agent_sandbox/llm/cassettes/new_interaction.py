"""An interaction in the making: an answer kept while it is passed on, chunk by chunk."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Literal

from pytest_agent_sandbox.llm.cassettes.canonical import CanonicalRequest
from pytest_agent_sandbox.llm.cassettes.cassette import Interaction, RecordedAnswer, RecordedEvent
from pytest_agent_sandbox.llm.cassettes.request_store import StoredRequest
from pytest_agent_sandbox.llm.cassettes.scrubbing import scrubbed_answer
from pytest_agent_sandbox.llm.exchange import FIRST_ERROR, Answer, Exchange
from pytest_agent_sandbox.llm.sse import EventSplitter, ServerSentEvent
from pytest_agent_sandbox.llm.strict_json import DEEPEST, is_deeper

#: The headers that are kept, because clients act on them. Others may reveal who recorded.
_KEPT_HEADERS = ("content-type", "retry-after", "x-should-retry")
#: Errors after which a client tries again. A replay needs neither the error nor the wait.
_TRANSIENT = {408, 409, 425, 429}
_FIRST_SERVER_ERROR = 500

State = Literal["open", "kept", "dropped", "broken", "unreadable"]


class NewInteraction:
    """A request that went to the provider, and its answer, kept while it is passed on.

    Args:
        exchange: The request as it came. It is not kept, for it may be large.
        request: The same request, in a store.
    """

    def __init__(self, exchange: Exchange, request: StoredRequest) -> None:
        self.request = request
        self.call = exchange.call
        #: Equal for a request and its retries.
        self.digest = hashlib.sha256(exchange.body).digest()
        self._dialect = exchange.dialect
        self._asks_model = exchange.asks_model
        #: `open` while the answer arrives; then `kept`, or `dropped` if a replay has no use for
        #: it, `broken` if its end is missing, `unreadable` if its encoding cannot be undone here.
        self.state: State = "open"
        #: The encoding of an `unreadable` answer.
        self.encoding = ""
        self._began = time.monotonic()
        self._ms = 0
        self._status = 0
        self._headers: dict[str, str] = {}
        self._is_stream = False
        self._body = bytearray()
        #: Milliseconds, name and data of each event.
        self._events: list[tuple[int, str, str]] = []
        self._has_end = False
        #: Whether the last event so far is complete, not just the beginning of one.
        self._is_event_whole = False

    def keep(self, answer: Answer) -> Answer:
        """Return the same answer, and keep what passes through it."""
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
        """True if the request was for the provider; what the test itself refuses is not."""
        return self.call.origin is not None

    def abandon(self) -> None:
        """Note that nothing more will come."""
        if self.state == "open":
            self.state = "broken"

    def interaction(self, request: CanonicalRequest, scrub: Callable[[str], str]) -> Interaction:
        """Return the interaction to write.

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
                self.state = "dropped"  # like an answer with an error status
            self._has_end = self._has_end or self._dialect.ends_answer(event)
            if self._dialect.is_last(event):
                self._complete()  # a client may hang up now

    def _seems_whole(self, answer: Answer) -> bool:
        """Tell whether an answer that has ended is complete: a proxy may have cut it off."""
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
            self.call.origin = "recorded"

    def _now(self) -> int:
        return round((time.monotonic() - self._began) * 1000)

    def _recorded_events(self) -> tuple[RecordedEvent, ...]:
        return tuple(
            RecordedEvent(ms, name, _parsed(data.encode("utf-8", "surrogatepass")))
            for ms, name, data in self._events
            if data or name
        )


def _parsed(body: bytes) -> Any:
    """Parse a body: an object or a list if it is JSON, else text, or bytes if it is neither."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return body
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return content if _is_kept_as_json(content) else text


def _is_kept_as_json(content: Any) -> bool:
    return isinstance(content, dict | list) and not is_deeper(content, DEEPEST)
