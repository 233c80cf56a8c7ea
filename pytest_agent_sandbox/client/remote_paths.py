"""Paths in the sandbox: how its shell is told of them, and what its errors about them mean here."""

from __future__ import annotations

import errno
import os
import re
import shlex

# Errors that Linux, where sandboxes run, numbers differently from other systems.
_NUMBERED_DIFFERENTLY = {
    36: "ENAMETOOLONG",
    39: "ENOTEMPTY",
    40: "ELOOP",
    107: "ENOTCONN",
    116: "ESTALE",
    122: "EDQUOT",
}
# What the C libraries of Linux say is wrong with a path, and the error's number there.
_TEXTS = {
    "operation not permitted": 1,
    "no such file or directory": 2,
    "input/output error": 5,
    "i/o error": 5,
    "no such device or address": 6,
    "permission denied": 13,
    "device or resource busy": 16,
    "resource busy": 16,
    "file exists": 17,
    "not a directory": 20,
    "is a directory": 21,
    "invalid argument": 22,
    "text file busy": 26,
    "file too large": 27,
    "no space left on device": 28,
    "read-only file system": 30,
    "file name too long": 36,
    "filename too long": 36,
    "too many levels of symbolic links": 40,
    "symbolic link loop": 40,
    "stale file handle": 116,
    "disk quota exceeded": 122,
    "quota exceeded": 122,
}
# What shells say where a file's folder is missing, or is no folder.
_SHELL_TEXTS = {"directory nonexistent": 2, "is not a directory": 20}
_PLAIN = re.compile(rb"[A-Za-z0-9_./-]")


def is_utf8(text: str) -> bool:
    """Tell whether all bytes of a text are UTF-8: `surrogateescape` keeps others in it."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def quoted(path: str) -> str:
    """Return a path for the shell, in ASCII where it is not UTF-8."""
    if is_utf8(path):
        return shlex.quote(path)
    spelled = (
        chr(byte) if _PLAIN.match(bytes([byte])) else f"\\{byte:03o}"
        for byte in path.encode(errors="surrogateescape")
    )
    return f"\"$(printf '{''.join(spelled)}')\""


def path_error(number: int, path: str, *, of: str = "in the sandbox") -> OSError:
    """Return the error that a local path would have raised.

    Args:
        number: The error's, on Linux.
        path: The path in the sandbox.
        of: What the path is.
    """
    name = _NUMBERED_DIFFERENTLY.get(number)
    local = getattr(errno, name, number) if name else number
    return OSError(local, f"{os.strerror(local)}, {of}", path)


def told_error(text: str, path: str) -> OSError | None:
    """Return the error that programs of the sandbox tell of in what they print, if they do."""
    for line in text.splitlines():
        reason = line.rpartition(": ")[2].strip().lower()
        number = _TEXTS.get(reason) or _SHELL_TEXTS.get(reason)
        if number is not None:
            # Where there is a file in place of the folder to make.
            is_a_file = number == errno.EEXIST
            return path_error(errno.ENOTDIR if is_a_file else number, path)
    return None
