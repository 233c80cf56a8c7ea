"""Server-sent events: the form in which providers stream their answers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MEDIA_TYPE = "text/event-stream"

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")


@dataclass(frozen=True)
class ServerSentEvent:
    """One event, as it came."""

    #: The text, with the empty line that ends it.
    raw: bytes

    @property
    def data(self) -> str:
        """What the event says; empty for a comment."""
        return "\n".join(self._values("data"))

    @property
    def name(self) -> str:
        """The event's kind; empty where the provider names none."""
        return "".join(self._values("event"))

    @property
    def content(self) -> dict[str, Any]:
        """What the event says as a JSON object; empty where it is none, such as `[DONE]`."""
        return json_object(self.data)

    def _values(self, field: str) -> list[str]:
        lines = self.raw.decode("utf-8", "replace").splitlines()
        prefix = f"{field}:"
        return [line.removeprefix(prefix).lstrip(" ") for line in lines if line.startswith(prefix)]


class EventSplitter:
    """Cuts a stream of bytes, which comes in pieces of any size, into its events."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that are whole now."""
        self._rest += chunk
        events = []
        start = 0
        for end in _END.finditer(self._rest):
            events.append(ServerSentEvent(self._rest[start : end.end()]))
            start = end.end()
        self._rest = self._rest[start:]
        return events

    @property
    def rest(self) -> bytes:
        """What came after the last whole event."""
        return self._rest


def encode_event(content: Mapping[str, Any] | str, name: str = "") -> bytes:
    """An event for the wire."""
    data = content if isinstance(content, str) else json.dumps(content)
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {data}\n\n".encode()


def json_object(text: str | bytes) -> dict[str, Any]:
    """A text as a JSON object; empty where it is none."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
