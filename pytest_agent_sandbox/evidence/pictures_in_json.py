"""Pictures in JSON: where agents and LLM requests hold them, and how they are taken out."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any

from pytest_agent_sandbox.evidence import limits
from pytest_agent_sandbox.evidence.picture_kinds import Picture, picture_of

_DATA_URL = re.compile(r"data:image/[\w.+-]+(?:;[\w.+=-]+)*;base64,", re.IGNORECASE)
#: Fields that hold data URLs: of the agent server's messages, of OpenAI's and of others.
_URL_FIELDS = {"image_urls", "image_url", "url", "uri", "src"}
#: Fields of the browser's results that hold a picture with or without the head of a data URL.
_SCREENSHOT_FIELDS = {"screenshot_data", "screenshot"}
#: Fields beside `data` that say what it is, of Anthropic's messages and of MCP's.
_MEDIA_TYPE_FIELDS = ("media_type", "mimeType", "mime_type")


def replace(value: Any, keep: Callable[[Picture], str]) -> Any:
    """Return plain JSON data with each picture in it replaced; what is no picture stays as it is.

    Texts that people or agents wrote are not looked at, even where one is a picture's data.

    Args:
        value: The data. It is not changed.
        keep: Gets a picture, and says what stands in its place.
    """
    return _replaced(value, keep, "", {}, limits.DEEPEST)


def _replaced(
    value: Any, keep: Callable[[Picture], str], name: str, owner: Mapping[str, Any], depth: int
) -> Any:
    if isinstance(value, str):
        picture = _picture_in(value, name, owner)
        return value if picture is None else keep(picture)
    if not depth:
        return value
    if isinstance(value, list | tuple):
        return [_replaced(item, keep, name, {}, depth - 1) for item in value]
    if isinstance(value, dict):
        return {
            field: _replaced(item, keep, field, value, depth - 1) for field, item in value.items()
        }
    return value


def _picture_in(text: str, name: str, owner: Mapping[str, Any]) -> Picture | None:
    head = _DATA_URL.match(text)
    if name in _URL_FIELDS:
        may_be = head is not None
    else:
        may_be = name in _SCREENSHOT_FIELDS or (name == "data" and _is_picture(owner))
    if not may_be:
        return None
    try:
        encoded = text[head.end() if head else 0 :]
        # In some encoders' lines; any other character means that it is something else.
        data = base64.b64decode("".join(encoded.split()), validate=True)
    except ValueError:
        return None
    return picture_of(data)


def _is_picture(owner: Mapping[str, Any]) -> bool:
    types = (owner.get(field) for field in _MEDIA_TYPE_FIELDS)
    return any(isinstance(kind, str) and kind.lower().startswith("image/") for kind in types)
