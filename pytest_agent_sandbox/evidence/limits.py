"""Limits of evidence: how large it may become, and how texts are shortened to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

MEGABYTE = 1024 * 1024
#: Characters of one text in events.jsonl and llm-calls.jsonl.
RECORDED_TEXT = MEGABYTE
#: Characters of events.jsonl and of llm-calls.jsonl; their last records are kept beyond it.
RECORDED_FILE = 64 * MEGABYTE
#: Characters of those last records, which wait in memory for the end.
RECORDED_LAST = 4 * MEGABYTE
#: Characters of workspace.diff.
RECORDED_DIFF = 16 * MEGABYTE
#: How many pictures a test's folder holds, and bytes of them together.
RECORDED_PICTURES = 200
RECORDED_PICTURES_SIZE = 64 * MEGABYTE
#: Bytes of the pictures that are in the page itself, and pixels that one of them may have.
PAGE_PICTURES = 8 * MEGABYTE
PAGE_PIXELS = 50_000_000
#: Characters of one text on a page, and of all of them together.
PAGE_TEXT = 100_000
PAGE_TEXTS = 16 * MEGABYTE
#: Characters of a text for which the page has no room left.
PAGE_REST = 1_000
#: How many steps, and lines of the log, a page has: the last ones.
PAGE_THINGS = 20_000
#: What pytest says of a failure, in characters.
FAILURE_TEXT = 200_000
#: How deep data may be nested; what is deeper is written as one text. That of real runs is nested
#: some ten levels deep.
DEEPEST = 50


def shorten(text: str, limit: int) -> tuple[str, int]:
    """Leave out the middle of a text that is too long; return it, and how many characters that is.

    The end is often what matters, so a third of what stays is from there.
    """
    cut = len(text) - limit
    if cut <= 0:
        return text, 0
    end = limit // 3
    begin, rest = text[: limit - end], text[len(text) - end :]
    return f"{begin}\n… {cut:,} characters are left out here …\n{rest}", cut


def change_texts(value: Any, change: Callable[[str], str], depth: int = DEEPEST) -> Any:
    """Return plain JSON data with each text in it changed, names included."""
    if isinstance(value, str):
        return change(value)
    if value is None or isinstance(value, int | float):
        return value
    if depth and isinstance(value, list | tuple):
        return [change_texts(item, change, depth - 1) for item in value]
    if depth and isinstance(value, dict):
        return {
            change(str(name)): change_texts(item, change, depth - 1) for name, item in value.items()
        }
    return change(_as_text(value) if isinstance(value, list | tuple | dict) else str(value))


def _as_text(value: Any) -> str:
    try:
        return json.dumps(value, default=str)
    except RecursionError:
        return "(nested too deeply to be kept)"
