"""The file that a container's output goes to: cleaned line by line, and never too large."""

from __future__ import annotations

import codecs
import os
import threading
from collections.abc import Callable
from pathlib import Path

#: The most bytes of the file. Beyond them its middle is dropped: its beginning and its end tell
#: the most about a container.
LIMIT = 32 * 1024 * 1024
#: The most characters of a line; a longer one is written in pieces.
_LONGEST_LINE = 64 * 1024
#: Characters of such a line's end that wait for what comes next: a secret may have begun there.
_HELD_BACK = 4 * 1024
#: Bytes at the end in which the last lines are looked for.
_TAIL_BYTES = 64 * 1024


class LogFile:
    """The file of one container's output. What it already holds stays.

    Args:
        path: The file.
        clean: Given whole lines before they are written, as to mask secrets.
        limit: Bytes that the output may have in it.
    """

    def __init__(
        self, path: Path, clean: Callable[[str], str] | None = None, limit: int = LIMIT
    ) -> None:
        self._clean = clean
        self._limit = limit
        self._lock = threading.RLock()
        # A chunk may end in the middle of a character.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._unfinished = ""
        self._open(path)

    def _open(self, path: Path) -> None:
        self.path = path
        self._dropped = 0
        self._note = b""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("r+b" if path.exists() else "w+b", buffering=0)
        self._begin = self._file.seek(0, os.SEEK_END)

    def move(self, path: Path, clean: Callable[[str], str] | None, *, with_past: bool) -> None:
        """Go on in another file; this one is closed, and stays as it is.

        Args:
            path: The other file. What it already holds stays.
            clean: Given whole lines before they are written to it.
            with_past: Whether what was written so far comes first in it.

        Raises:
            OSError: It cannot be opened, or the disk is full.
        """
        with self._lock:
            self.flush()  # an unfinished line belongs to this file
            past = b""
            if with_past:
                self._file.seek(self._begin)
                past = self._file.read()
            self._file.close()
            self._clean = clean
            self._open(path)
            text = past.decode(errors="replace")
            self._append((text if clean is None else clean(text)).encode(errors="replace"))

    def write(self, chunk: bytes) -> None:
        """Write a piece of output; where it has to be cleaned, the lines that end in it.

        Raises:
            OSError: The disk is full, or the like.
        """
        with self._lock:
            if self._clean is None:
                self._append(chunk)
            else:
                self._write_lines(chunk, self._clean)

    def _write_lines(self, chunk: bytes, clean: Callable[[str], str]) -> None:
        text = self._unfinished + self._decoder.decode(chunk)
        lines, newline, self._unfinished = text.rpartition("\n")
        self._append(clean(lines + newline).encode(errors="replace"))
        if len(self._unfinished) > _LONGEST_LINE:
            cleaned = clean(self._unfinished)
            self._unfinished = cleaned[-_HELD_BACK:]
            self._append(cleaned[:-_HELD_BACK].encode(errors="replace"))

    def flush(self) -> None:
        """Write what is there of the last line."""
        with self._lock:
            last = self._unfinished + self._decoder.decode(b"", final=True)
            self._unfinished = ""
            if self._clean is not None:
                self._append(self._clean(last).encode(errors="replace"))

    def start_again(self) -> None:
        """Drop what was written, for it all comes again."""
        with self._lock:
            self._decoder.reset()
            self._unfinished, self._dropped, self._note = "", 0, b""
            self._file.truncate(self._begin)
            self._file.seek(0, os.SEEK_END)

    def tail(self, lines: int) -> str:
        """Return the last lines written so far, of this container only."""
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
        with self._lock:
            self._file.close()

    def _append(self, output: bytes) -> None:
        self._file.write(output)
        if self._file.tell() - self._begin > self._limit:
            self._drop_middle()

    def _drop_middle(self) -> None:
        """Keep a quarter of what the file may have from the beginning, and one from the end."""
        kept = self._limit // 4
        size, middle = self._file.tell(), self._begin + kept
        self._file.seek(size - kept)
        end = self._file.read(kept)
        end = end.partition(b"\n")[2] or end  # whole lines, where there are any
        self._dropped += size - middle - len(self._note) - len(end)
        self._note = f"\n… {self._dropped:,} bytes of output were dropped here …\n".encode()
        self._file.truncate(middle)
        self._file.seek(middle)
        self._file.write(self._note + end)
