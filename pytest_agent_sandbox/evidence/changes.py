"""What changed on a workspace's disk, file by file, out of a diff."""

from __future__ import annotations

import re
from typing import Literal

from pytest_agent_sandbox.evidence.story import Change

_FILE = re.compile(r"^(?=diff --git )", re.MULTILINE)
_NAMES = re.compile(r'diff --git "?a/(.*?)"? "?b/(.*?)"?$')
_Status = Literal["added", "deleted", "modified", "renamed", ""]
_MARKS: dict[str, _Status] = {
    "new file mode": "added",
    "deleted file mode": "deleted",
    "rename from": "renamed",
}


def read(diff: str) -> tuple[list[Change], str]:
    """The changes in a diff as git writes it, and what it says beside them."""
    note, *files = _FILE.split(diff)
    return [_change(text) for text in files], note.strip()


def _change(text: str) -> Change:
    lines = text.splitlines()
    names = _NAMES.match(lines[0])
    first = next((n for n, line in enumerate(lines) if line.startswith("@@")), len(lines))
    head, body = lines[1:first], lines[first:]
    marks = (_MARKS[mark] for mark in _MARKS for line in head if line.startswith(mark))
    return Change(
        path=names[2] if names else lines[0],
        status=next(marks, "modified"),
        added=sum(line.startswith("+") for line in body),
        removed=sum(line.startswith("-") for line in body),
        diff=text,
    )
