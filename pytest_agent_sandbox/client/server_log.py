"""A server's log, which often tells more of a failed run than the server's own answer."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

#: Lines at the log's end to look at, lines to quote, and characters of a quoted line.
_LOOKED_AT = 400
_MOST_LINES = 10
_LONGEST_LINE = 300
#: How the server (1.58) logs what an ACP agent's program prints beside the protocol.
_PROGRAM_SAID = re.compile(r"ACP (?:stderr|stdout \(non-JSON\)): ")
_TROUBLE = ("ERROR", "CRITICAL")
#: Seconds for a line to arrive, and between two looks for it.
_PATIENCE = 0.5
_INTERVAL = 0.05


class ServerLog:
    """A server's log from now on.

    Args:
        tail: Returns the last lines of the log, as many as it is asked for; none where the log is
            out of reach.
        mask: Masks secrets in a text: an agent may print what it was given.
    """

    def __init__(self, tail: Callable[[int], str], mask: Callable[[str], str]) -> None:
        self._tail = tail
        self._mask = mask
        lines = self._tail(1).splitlines()
        self._seen = lines[-1] if lines else None

    def of_program(self) -> str:
        """Return what an ACP agent's program printed last; empty if nothing."""
        deadline = time.monotonic() + _PATIENCE
        while not (said := self._said_by_program()) and time.monotonic() < deadline:
            time.sleep(_INTERVAL)
        return self._quoted(said)

    def of_server(self) -> str:
        """Return the last error that the server logged; empty if there is none."""
        errors = [record for record in self._records() if record.get("levelname") in _TROUBLE]
        return self._quoted([str(errors[-1].get("message", ""))]) if errors else ""

    def _said_by_program(self) -> list[str]:
        messages = (str(record.get("message", "")) for record in self._records())
        return [text[found.end() :] for text in messages if (found := _PROGRAM_SAID.match(text))]

    def _records(self) -> Iterator[Mapping[str, Any]]:
        lines = self._tail(_LOOKED_AT).splitlines()
        if self._seen in lines:
            lines = lines[lines.index(self._seen) + 1 :]
        for line in lines:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):  # part of a traceback, or of another program
                continue
            if isinstance(record, dict):
                yield record

    def _quoted(self, messages: list[str]) -> str:
        # Masked while they are whole: nobody would recognise half a secret.
        lines = self._mask("\n".join(messages)).splitlines()
        kept = [line.rstrip()[:_LONGEST_LINE] for line in lines if line.strip()][-_MOST_LINES:]
        return "\n".join(f"  {line}" for line in kept)
