"""Server-sent events: the form in which providers stream their answers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

MEDIA_TYPE = "text/event-stream"

#: An empty line. Each of its two line ends may be any of three; "\r\n" is never taken for two.
_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
#: Bytes at the end of what came that may be the beginning of an empty line.
_LONGEST_LINE_END = 2
#: Not those that Unicode knows beside them.
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class ServerSentEvent:
    """One event, as it came."""

    #: The text, with the empty line that ends it.
    raw: bytes

    @cached_property
    def data(self) -> str:
        """What the event says; empty for a comment."""
        return "\n".join(self._values("data"))

    @cached_property
    def name(self) -> str:
        """The event's kind; empty where the provider names none."""
        return "".join(self._values("event"))

    @cached_property
    def content(self) -> dict[str, Any]:
        """What the event says as a JSON object; empty where it is none, such as `[DONE]`."""
        return json_object(self.data)

    def _values(self, field: str) -> list[str]:
        # A stream may begin with a byte order mark.
        lines = _LINE_END.split(self.raw.decode("utf-8-sig", "replace"))
        prefix = f"{field}:"
        return [
            line.removeprefix(prefix).removeprefix(" ") for line in lines if line.startswith(prefix)
        ]


class EventSplitter:
    """Cuts a stream of bytes, which comes in pieces of any size, into its events."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that are whole now."""
        # What was looked through before is not looked through again: an event may be large.
        looked_through = max(0, len(self._rest) - _LONGEST_LINE_END)
        self._rest += chunk
        events = []
        start = 0
        for end in [found.end() for found in _END.finditer(self._rest, looked_through)]:
            events.append(ServerSentEvent(bytes(self._rest[start:end])))
            start = end
        del self._rest[:start]
        return events

    def end(self) -> list[ServerSentEvent]:
        """What came after the last whole event, which clients take for one; at most one."""
        rest, self._rest = bytes(self._rest), bytearray()
        return [ServerSentEvent(rest)] if rest.strip() else []


def is_event_stream(media_type: str) -> bool:
    """Whether a `content-type` says that the body is made of events; its case does not matter."""
    return media_type.partition(";")[0].strip().lower() == MEDIA_TYPE


def encode_event(content: Any, name: str = "") -> bytes:
    """An event for the wire.

    Args:
        content: What it says: a text as it is, anything else as JSON.
        name: Its kind, where it has one.
    """
    text = content if isinstance(content, str) else json.dumps(content)
    head = f"event: {name}\n" if name else ""
    data = "".join(f"data: {line}\n" for line in text.split("\n"))
    return f"{head}{data}\n".encode("utf-8", "surrogatepass")


def json_object(text: str | bytes) -> dict[str, Any]:
    """A text as a JSON object; empty where it is none."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
