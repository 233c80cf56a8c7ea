"""JSON that is readable in a diff: short things on one line, long texts line by line."""

from __future__ import annotations

import json
import re
from typing import Any

#: A list under this name has each of its elements on one line: the events of a stream.
ONE_LINE_EACH = "events"

_WIDTH = 100
#: A text of several lines is replaced by an object with this name and the lines.
_LINES = "$lines"
_SURROGATE = re.compile("[\ud800-\udfff]")


def encode(value: Any) -> str:
    """Return JSON with a line break at its end. Only half surrogate pairs are escaped."""
    return f"{_format(_split(value), 0)}\n"


def decode(text: str) -> Any:
    """Return the value that `encode` was given.

    Raises:
        ValueError: The text is not JSON.
    """
    return _join(json.loads(text))


def _split(value: Any) -> Any:
    match value:
        case str() if "\n" in value.rstrip("\n"):
            return {_LINES: value.split("\n")}
        case list():
            return [_split(item) for item in value]
        case dict():
            # A name like ours gets one more sign in front, to be distinguished.
            return {
                f"${name}" if name.endswith(_LINES) else name: _split(item)
                for name, item in value.items()
            }
    return value


def _join(value: Any) -> Any:
    match value:
        case list():
            return [_join(item) for item in value]
        case dict() if set(value) == {_LINES}:
            return "\n".join(value[_LINES])
        case dict():
            return {
                name[1:] if name.endswith(_LINES) else name: _join(item)
                for name, item in value.items()
            }
    return value


def _format(value: Any, indent: int, *, one_line: bool = False) -> str:
    text = json.dumps(value, ensure_ascii=False)
    if one_line or not value or not isinstance(value, dict | list):
        return _safe(text)
    if len(text) + indent <= _WIDTH and _LINES not in text:
        return _safe(text)
    inner = " " * (indent + 2)
    if isinstance(value, list):
        parts = [_format(item, indent + 2) for item in value]
        return f"[\n{inner}" + f",\n{inner}".join(parts) + f"\n{' ' * indent}]"
    parts = [
        f"{_safe(json.dumps(name, ensure_ascii=False))}: {_value(name, item, indent + 2)}"
        for name, item in value.items()
    ]
    return f"{{\n{inner}" + f",\n{inner}".join(parts) + f"\n{' ' * indent}}}"


def _value(name: str, value: Any, indent: int) -> str:
    if name != ONE_LINE_EACH or not isinstance(value, list) or not value:
        return _format(value, indent)
    inner = " " * (indent + 2)
    parts = [_format(item, indent, one_line=True) for item in value]
    return f"[\n{inner}" + f",\n{inner}".join(parts) + f"\n{' ' * indent}]"


def _safe(text: str) -> str:
    """Return the text with JSON's escapes for what no file can hold: half surrogate pairs."""
    return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
