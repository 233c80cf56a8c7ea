"""How large evidence may become, and how a text is shortened so that it says so."""

from __future__ import annotations

from typing import Any

MEGABYTE = 1024 * 1024
#: Characters of one text in events.jsonl and llm-calls.jsonl.
RECORDED_TEXT = MEGABYTE
#: Characters of events.jsonl and of llm-calls.jsonl; their last records are kept beyond it.
RECORDED_FILE = 64 * MEGABYTE
#: Characters of workspace.diff.
RECORDED_DIFF = 16 * MEGABYTE
#: Characters of one text on a page, and of all of them together.
PAGE_TEXT = 100_000
PAGE_TEXTS = 16 * MEGABYTE
#: Characters of a text for which the page has no room left.
PAGE_REST = 1_000
#: What pytest says of a failure, in characters.
FAILURE_TEXT = 200_000


def shorten(text: str, limit: int) -> tuple[str, int]:
    """A text without its middle where it is too long, and how many characters that is.

    The end is often what matters, so a third of what stays is from there.
    """
    cut = len(text) - limit
    if cut <= 0:
        return text, 0
    end = limit // 3
    return f"{text[: limit - end]}\n… {cut:,} characters are left out here …\n{text[-end:]}", cut


def shorten_texts(value: Any, limit: int) -> Any:
    """Plain JSON data with each text in it shortened."""
    if isinstance(value, str):
        return shorten(value, limit)[0]
    if isinstance(value, list):
        return [shorten_texts(item, limit) for item in value]
    if isinstance(value, dict):
        return {name: shorten_texts(item, limit) for name, item in value.items()}
    return value
