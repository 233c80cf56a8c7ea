"""The file that a container's output goes to: cleaned line by line, and never too large."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

#: Bytes that the file may have. Beyond them its middle is dropped: how a container began and how it
#: ended tell the most.
LIMIT = 32 * 1024 * 1024
#: Bytes of the end that stay when the middle goes, and of the beginning.
_KEPT = LIMIT // 4
#: A line longer than that is written in pieces.
_LONGEST_LINE = 64 * 1024
#: Bytes at the end among which the last lines are looked for.
_TAIL_BYTES = 64 * 1024


class LogFile:
    """Where one container's output is written, by one thread. What the file already holds stays.

    Args:
        path: The file.
        clean: Given each line before it is written, as to mask secrets.
    """

    def __init__(self, path: Path, clean: Callable[[str], str] | None = None) -> None:
        self.path = path
        self._clean = clean
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("r+b" if path.exists() else "w+b", buffering=0)
        self._begin = self._file.seek(0, os.SEEK_END)
        self._unfinished = b""
        self._dropped = 0

    def write(self, chunk: bytes) -> None:
        """Write a piece of output; where it has to be cleaned, the lines that end in it.

        Raises:
            OSError: The disk is full, or the like.
        """
        if self._clean is None:
            self._append(chunk)
            return
        lines, newline, self._unfinished = (self._unfinished + chunk).rpartition(b"\n")
        self._append(lines + newline)
        if len(self._unfinished) > _LONGEST_LINE:
            self.flush()

    def flush(self) -> None:
        """Write what is there of the last line."""
        last, self._unfinished = self._unfinished, b""
        self._append(last)

    def start_again(self) -> None:
        """Drop what was written, for it all comes again."""
        self._unfinished, self._dropped = b"", 0
        self._file.truncate(self._begin)
        self._file.seek(0, os.SEEK_END)

    def tail(self, lines: int) -> str:
        """The last lines written so far, of this container only."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self._begin, size - _TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, output: bytes) -> None:
        if not output:
            return
        if self._clean is not None:
            output = self._clean(output.decode(errors="replace")).encode(errors="replace")
        self._file.write(output)
        if self._file.tell() - self._begin > LIMIT:
            self._drop_middle()

    def _drop_middle(self) -> None:
        size = self._file.tell()
        self._file.seek(size - _KEPT)
        end = self._file.read(_KEPT).partition(b"\n")[2]
        middle = self._begin + _KEPT
        self._dropped += size - middle - len(end)
        self._file.truncate(middle)
        self._file.seek(middle)
        self._file.write(f"\n… {self._dropped:,} bytes of output were dropped here …\n".encode())
        self._file.write(end)
