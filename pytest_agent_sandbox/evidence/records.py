"""Files of records, a JSON object a line: readable wherever the writing breaks off."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pytest_agent_sandbox.evidence import limits

EVENTS = "events.jsonl"
LLM_CALLS = "llm-calls.jsonl"
COMMANDS = "commands.jsonl"

#: Records that are kept beyond a file's limit: how it ended.
_LAST = 50
#: The name of the field that says how many records are missing at its place.
_LEFT_OUT = "left_out"


class Records:
    """File of records, which stops growing at a limit, except for its last records.

    Not safe for several threads: its owner has the lock.

    Args:
        path: The file.
        mask: Masks the secrets in a text.
        limit: Characters it may have.
    """

    def __init__(
        self, path: Path, mask: Callable[[str], str], limit: int = limits.RECORDED_FILE
    ) -> None:
        self._path = path
        self._mask = mask
        self._room = limit
        self._last: deque[str] = deque()
        self._last_size = 0
        #: The file's name.
        self.name = path.name
        #: How many records found no room.
        self.left_out = 0

    def add(self, record: dict[str, Any]) -> None:
        """Append a record, on disk when this returns.

        Raises:
            OSError: The disk is full, or the like.
        """
        self.add_line(self.line(record))

    def line(self, record: dict[str, Any]) -> str:
        """Return a record as a line, with secrets masked; from any thread."""
        # In ASCII: half a surrogate pair, which JSON from elsewhere may hold, is no text in UTF-8.
        return json.dumps(limits.change_texts(record, self._shown))

    def add_line(self, line: str) -> None:
        """Append a record as `line` returns it, on disk when this returns.

        Raises:
            OSError: The disk is full, or the like.
        """
        if self._last or self.left_out or len(line) > self._room:
            self._keep(line)
            return
        self._room -= len(line)
        self._write(line)

    def end(self) -> None:
        """Write the last records of a file that is full.

        Raises:
            OSError: The disk is full, or the like.
        """
        if self.left_out:
            self._write(json.dumps({_LEFT_OUT: self.left_out}))
        while self._last:
            self._write(self._last.popleft())

    def _shown(self, text: str) -> str:
        # Masked first: a secret that is cut in two is not found any more.
        return limits.shorten(self._mask(text), limits.RECORDED_TEXT)[0]

    def _keep(self, line: str) -> None:
        self._last.append(line)
        self._last_size += len(line)
        while len(self._last) > _LAST or self._last_size > limits.RECORDED_LAST:
            self._last_size -= len(self._last.popleft())
            self.left_out += 1

    def _write(self, line: str) -> None:
        # Opened each time: there is nothing to close when pytest dies.
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Read the records of a file; a missing one has none, and a line that broke off is none."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict) and _LEFT_OUT not in record:
                yield record


def number(value: Any) -> float | None:
    """Return the value where it is a number that can be reckoned with, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # JSON's numbers have no limit
        return None
