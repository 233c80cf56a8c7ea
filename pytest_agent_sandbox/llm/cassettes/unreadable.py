"""The reason why a cassette's file cannot be read, and what to do about it."""

from __future__ import annotations

import codecs
import json
import re

#: At the beginning of a line, as git puts them around the two sides of a conflict.
_CONFLICT = re.compile(rb"^(?:<{7} |\|{7}|={7}$|>{7} )", re.MULTILINE)
_LONGEST_ESCAPE = len(r"\u0000")
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_MARKS = {
    codecs.BOM_UTF8: "UTF-8",
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def why(data: bytes, problem: Exception) -> str:
    """Return the reason, as a sentence or two.

    Args:
        data: The file's content.
        problem: The exception that reading it has raised.
    """
    conflict = _CONFLICT.search(data)
    if conflict is not None:
        return _conflict(data, conflict.start())
    if not data.strip():
        return "it is empty."
    if data.startswith(_LFS_POINTER):
        return "it is a pointer of Git LFS, not the file itself. Fetch that with: git lfs pull."
    mark = next((mark for mark in _MARKS if data.startswith(mark)), None)
    if mark is not None:
        name = _MARKS[mark]
        return f"it begins with a byte order mark of {name}. Save it as UTF-8 without one."
    return _by_problem(data, problem)


def _by_problem(data: bytes, problem: Exception) -> str:
    if isinstance(problem, UnicodeDecodeError):
        line = data.count(b"\n", 0, problem.start) + 1
        return f"it is not UTF-8, in line {line}. Has an editor saved it in another encoding?"
    if isinstance(problem, json.JSONDecodeError):
        return _no_json(problem)
    return f"{problem or type(problem).__name__}."


def _conflict(data: bytes, position: int) -> str:
    line = data.count(b"\n", 0, position) + 1
    return (
        f"it has merge conflict marks, the first in line {line}. Take one side whole "
        "(git checkout --ours or --theirs, with the file's name): two recordings do not mix."
    )


def _no_json(problem: json.JSONDecodeError) -> str:
    rest = problem.doc[problem.pos :].strip()
    # json reports a string without its end at the position where it begins.
    is_cut = any(word.startswith(rest) for word in ("null", "true", "false"))
    is_cut_escape = len(rest) < _LONGEST_ESCAPE and problem.msg.startswith("Invalid \\uXXXX")
    if is_cut or is_cut_escape or problem.msg.startswith("Unterminated string"):
        return f"it ends in line {problem.doc.rstrip().count(chr(10)) + 1} before it is complete."
    return f"it is not JSON: {problem}."
