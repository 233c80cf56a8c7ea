"""Slug of a text: what of it a file's name can have on all systems."""

from __future__ import annotations

import re


def slug(text: str, limit: int, *, kept: str = "_") -> str:
    """Return a text's letters, digits and some signs, with `-` for all between them.

    Two texts may have the same slug, and some have an empty one: add what tells them apart.

    Args:
        text: Any text.
        limit: Characters that the slug may have.
        kept: The signs that stay.
    """
    return re.sub(rf"[^A-Za-z0-9{re.escape(kept)}]+", "-", text).strip("-")[:limit]
