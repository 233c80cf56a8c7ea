"""Addresses in a request from which the provider would fetch something, such as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: What fields end with, in some case, that hold an address: "image_url", "file_url", "video_url".
_ADDRESS = "_url"
#: A field that holds a file's data, or its address for some servers.
_FILE = "file_data"
#: What needs no download.
_DATA = "data:"


def downloads(value: Any) -> Iterator[str]:
    """Yield the names of the fields of messages whose addresses the provider would look up."""
    if isinstance(value, list):
        for item in value:
            yield from downloads(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name == "input" and str(value.get("type")).endswith("tool_use"):
                continue  # a tool's arguments, which mean what the tool says
            if _is_fetched(value, name, item):
                yield name
            else:
                yield from downloads(item)


def _is_fetched(owner: Mapping[str, Any], name: str, item: Any) -> bool:
    field = name.casefold()
    if field == "url":  # elsewhere it may be a citation's
        kinds = [str(owner[one]).casefold() for one in owner if one.casefold() == "type"]
        return "url" in kinds and _is_address(item)
    if field == _FILE and isinstance(item, str):
        return "://" in item[:20] and _is_address(item)
    if not field.endswith(_ADDRESS):
        return False
    inner = item.values() if isinstance(item, dict) else [item]
    return any(_is_address(one) for one in inner if isinstance(item, str) or _has_sign(one))


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and not value.lstrip()[:5].lower().startswith(_DATA)


def _has_sign(value: Any) -> bool:
    """Tell an address from the other things that may be beside it, such as `"detail": "low"`."""
    return isinstance(value, str) and ":" in value
