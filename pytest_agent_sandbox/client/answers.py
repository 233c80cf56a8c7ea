"""The answers of an agent server, taken with care: in a sandbox, anything may stand in its place.

Whatever comes, what is raised is a `ServerError`.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pytest_agent_sandbox.errors import ServerError

# Ids become parts of addresses. Servers make UUIDs; somebody may name a conversation.
_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
# Characters of an answer that an error shows.
_SHOWN = 200


def decode(text: str | bytes) -> Any:
    """Decode a JSON document; half a surrogate pair in it is replaced, for no text can hold it.

    Raises:
        ValueError: It is none, or is nested too deeply.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        value = json.loads(text)
        return _encodable(value) if "\\u" in text else value
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def an_object(value: object, where: str) -> dict[str, Any]:
    """Return the value, which has to be a JSON object.

    Args:
        value: What was answered.
        where: To what, for the error.

    Raises:
        ServerError: It is something else.
    """
    if isinstance(value, dict):
        return value
    raise ServerError(f"{where} was answered with {shown(value)}, which is no object.")


def an_id(value: object, where: str) -> str:
    """Return the id in an object.

    Raises:
        ServerError: It is no object, or what it has under `id` cannot be one.
    """
    found = an_object(value, where).get("id")
    if isinstance(found, str) and _ID.fullmatch(found):
        return found
    raise ServerError(f"{where} was answered with an id of {shown(found)}.")


def a_number(value: object, where: str) -> int:
    """Return the value, which has to be a whole number.

    Raises:
        ServerError: It is something else.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ServerError(f"{where} was answered with {shown(value)}, which is no whole number.")


def as_text(value: object) -> str:
    """Return the value as text, whatever it is."""
    try:
        return str(_encodable(str(value)))
    except (RecursionError, ValueError):  # nested too deeply; a number of thousands of digits
        return f"({type(value).__name__})"


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode(errors="replace").decode()
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return value


def shown(value: object) -> str:
    """Return the value for an error message."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        text = type(value).__name__
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
