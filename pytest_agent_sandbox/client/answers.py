"""What an agent server answers, taken with care: in a sandbox, anything may stand in its place.

Whatever comes, what is raised is a `ServerError`; nothing is followed without end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_agent_sandbox.errors import ServerError

if TYPE_CHECKING:
    from pytest_agent_sandbox.client.transport import ServerConnection

# Ids become parts of addresses. Servers make UUIDs; somebody may name a conversation.
_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
# Pages of one list: of 100 events each, that is more than a conversation of a million.
_MOST_PAGES = 10_000
# Bytes of one list.
_MOST_BYTES = 2 * 1024**3
# Characters of an answer that an error shows.
_SHOWN = 200


def decode(text: str | bytes) -> Any:
    """A JSON document, in which half a surrogate pair is replaced: no text can hold it.

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
    """The value, which has to be a JSON object.

    Args:
        value: What was answered.
        where: To what, for the error.

    Raises:
        ServerError: It is something else.
    """
    if isinstance(value, dict):
        return value
    raise ServerError(f"{where} was answered with {_shown(value)}, which is no object.")


def an_id(value: object, where: str) -> str:
    """The id in an object.

    Raises:
        ServerError: It is no object, or what it has under `id` cannot be one.
    """
    found = an_object(value, where).get("id")
    if isinstance(found, str) and _ID.fullmatch(found):
        return found
    raise ServerError(f"{where} was answered with an id of {_shown(found)}.")


def a_number(value: object, where: str) -> int:
    """The value, which has to be a whole number.

    Raises:
        ServerError: It is something else.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ServerError(f"{where} was answered with {_shown(value)}, which is no whole number.")


def items(
    connection: ServerConnection,
    path: str,
    params: Mapping[str, Any],
    *,
    page_id: str | None = None,
) -> Iterator[Any]:
    """What a list of the server has, page by page.

    Args:
        connection: The way to the server.
        path: The list's.
        params: Query parameters.
        page_id: Where to begin; None for the first page.

    Raises:
        ServerError: The server refused, answers with something else, or its pages do not end.
        SandboxError: Whatever the connection's guard knows to be the cause.
    """
    seen = {page_id}
    size = 0
    for _ in range(_MOST_PAGES):
        answer = connection.request("GET", path, params={**params, "page_id": page_id}, retry=True)
        size += len(answer.content)
        if size > _MOST_BYTES:
            raise ServerError(f"{path} was answered with over {_MOST_BYTES:,} bytes.")
        page = an_object(connection.decoded(answer), path)
        found = page.get("items")
        if not isinstance(found, list):
            raise ServerError(f"{path} was answered with a page of {_shown(found)}.")
        yield from found
        page_id = page.get("next_page_id")
        if not page_id:
            return
        if not isinstance(page_id, str) or page_id in seen:
            raise ServerError(f"{path} was answered with pages that do not end.")
        seen.add(page_id)
    raise ServerError(f"{path} was answered with over {_MOST_PAGES:,} pages.")


def as_text(value: object) -> str:
    """The value as text, whatever it is."""
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


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        text = type(value).__name__
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
