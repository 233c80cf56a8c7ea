"""The content of an ACP agent's tool call: blocks of text, and of changes to files."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


def acp_text(blocks: Iterable[Any]) -> str:
    """Return the text of the blocks, changes as diffs; what is no text, as a picture, is left out.

    Args:
        blocks: As the protocol has them; servers write `old_text`, the protocol `oldText`.
    """
    return "\n".join(text for block in blocks if (text := _text(block)))


def _text(block: Any) -> str:
    if not isinstance(block, Mapping):
        return ""
    content = block.get("content")
    if isinstance(content, Mapping):
        return str(content.get("text") or "")
    if block.get("type") == "diff":
        path = str(block.get("path", ""))
        before, after = (
            str(block.get(name) or block.get(wire) or "").splitlines()
            for name, wire in (("old_text", "oldText"), ("new_text", "newText"))
        )
        return "\n".join(difflib.unified_diff(before, after, path, path, lineterm=""))
    return ""
