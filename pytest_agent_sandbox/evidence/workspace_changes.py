"""Changes on a workspace's disk, file by file, out of a diff."""

from __future__ import annotations

import re
from typing import Literal

from pytest_agent_sandbox.evidence.story import Change

_FILE = re.compile(r"^(?=diff --git )", re.MULTILINE)
#: What stands beside the files: whose workspace it is, and why something is missing. No line of a
#: file's own begins like that: those of a hunk begin with a space, a sign or a backslash.
_BESIDE = re.compile(r"^(?=# |\(the workspace |\[Cut here|\[Incomplete)", re.MULTILINE)
_TITLE = "# "
#: Before the names of both sides.
_PREFIX = 2
#: git spells what is not plain in a name in octal or with a letter.
_ESCAPE = re.compile(rb"\\([0-3][0-7]{2}|.)")
_LETTERS = dict(zip(b"abtnvfr", b"\a\b\t\n\v\f\r", strict=True))
_NOWHERE = "/dev/null"
_Status = Literal["added", "deleted", "modified", "renamed", ""]
_MARKS: dict[str, _Status] = {
    "new file mode": "added",
    "copy from": "added",
    "deleted file mode": "deleted",
    "rename from": "renamed",
}


def read(diff: str) -> tuple[list[Change], str]:
    """Read the changes in a diff as git writes it, and what it says beside them.

    Where there are several workspaces, each begins with a line `# name`.
    """
    changes: list[Change] = []
    notes: list[str] = []
    title = ""
    for text in _FILE.split(diff):
        file, beside = _apart(text) if text.startswith("diff --git ") else ("", text)
        if file:
            changes.append(_change(file, title))
        for line in beside.strip().splitlines():
            if line.startswith(_TITLE):
                title = f"{line.removeprefix(_TITLE)}: "
            elif line:
                notes.append(f"{title}{line}")
    return changes, "\n".join(notes)


def _apart(text: str) -> tuple[str, str]:
    beside = _BESIDE.search(text)
    return (text, "") if beside is None else (text[: beside.start()], text[beside.start() :])


def _change(text: str, title: str) -> Change:
    # Nothing but a line feed ends a line of a diff.
    head_text, _, body = text.partition("\n@@")
    head = head_text.split("\n")
    marks = (_MARKS[mark] for mark in _MARKS for line in head if line.startswith(mark))
    return Change(
        path=f"{title}{_path(head)}",
        status=next(marks, "modified"),
        added=body.count("\n+"),
        removed=body.count("\n-"),
        diff=text,
    )


def _path(head: list[str]) -> str:
    """Find the file's name, or the one it had; the first line alone does not always tell."""
    for start, prefix in (("+++ ", _PREFIX), ("rename to ", 0), ("copy to ", 0), ("--- ", _PREFIX)):
        for line in head:
            name = _unquoted(line.removeprefix(start).rstrip("\t"))
            if line.startswith(start) and name != _NOWHERE and name[prefix:]:
                return name[prefix:]
    both = head[0].removeprefix("diff --git ")
    # Twice the same name, but for the first letter.
    return _unquoted(both[len(both) // 2 + 1 :])[_PREFIX:] or head[0]


def _unquoted(name: str) -> str:
    if not name.startswith('"'):
        return name
    inner = name.removeprefix('"').removesuffix('"').encode(errors="replace")
    return _ESCAPE.sub(_unescaped, inner).decode(errors="replace")


def _unescaped(found: re.Match[bytes]) -> bytes:
    code = found[1]
    return bytes([int(code, 8) if len(code) > 1 else _LETTERS.get(code[0], code[0])])
