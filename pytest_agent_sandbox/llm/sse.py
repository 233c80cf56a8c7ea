"""Server-sent events: the form in which providers stream their answers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pytest_agent_sandbox.llm.strict_json import has_too_many

MEDIA_TYPE = "text/event-stream"

#: An empty line. Each of its two line ends may be any of three; "\r\n" is never taken for two.
_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
#: Bytes at the end of what came that may be the beginning of an empty line.
_LONGEST_LINE_END = 2
#: Characters that cannot hold too many values.
_MANY = 250_000
#: Without the other line ends that Unicode knows.
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class ServerSentEvent:
    """One event, as it came."""

    #: The text, with the empty line that ends it.
    raw: bytes

    @cached_property
    def data(self) -> str:
        """The event's content; empty for a comment."""
        return "\n".join(self._values("data"))

    @cached_property
    def name(self) -> str:
        """The event's kind; empty if the provider names none."""
        return "".join(self._values("event"))

    @cached_property
    def content(self) -> dict[str, Any]:
        """The content as a JSON object; empty if it is not one, such as `[DONE]`."""
        return json_object(self.data)

    def _values(self, field: str) -> list[str]:
        # A stream may begin with a byte order mark. Where "\r" was the last of a chunk, the "\n"
        # that belongs to it begins the next event.
        lines = _LINE_END.split(self.raw.lstrip(b"\r\n").decode("utf-8-sig", "replace"))
        prefix = f"{field}:"
        return [
            line.removeprefix(prefix).removeprefix(" ") for line in lines if line.startswith(prefix)
        ]


class EventSplitter:
    """A splitter that cuts a stream of bytes, in chunks of any size, into its events."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Take a chunk, and return the events that are whole now."""
        # What was searched before is not searched again: an event may be large.
        searched = max(0, len(self._rest) - _LONGEST_LINE_END)
        self._rest += chunk
        events = []
        start = 0
        for end in [found.end() for found in _END.finditer(self._rest, searched)]:
            events.append(ServerSentEvent(bytes(self._rest[start:end])))
            start = end
        del self._rest[:start]
        return events

    def end(self) -> list[ServerSentEvent]:
        """Return the rest, which clients take for one more event; none if it is empty."""
        rest, self._rest = bytes(self._rest), bytearray()
        return [ServerSentEvent(rest)] if rest.strip() else []


def is_event_stream(media_type: str) -> bool:
    """Tell whether a `content-type`, in any case, says that the body is made of events."""
    return media_type.partition(";")[0].strip().lower() == MEDIA_TYPE


def encode_event(content: Any, name: str = "") -> bytes:
    """Return an event as it goes on the wire.

    Args:
        content: Its content: a text goes out as it is, anything else as JSON.
        name: Its kind, if it has one.
    """
    text = content if isinstance(content, str) else json.dumps(content)
    head = f"event: {name}\n" if name else ""
    data = "".join(f"data: {line}\n" for line in text.split("\n"))
    return f"{head}{data}\n".encode("utf-8", "surrogatepass")


def json_object(text: str | bytes) -> dict[str, Any]:
    """Parse a text as a JSON object; empty if it is not one, or one with too many values."""
    try:
        if len(text) > _MANY and has_too_many(text):
            return {}
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
