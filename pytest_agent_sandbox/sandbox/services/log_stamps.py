"""The time of each line of a service's log, which the service itself may not print."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

#: A line as it is in the file: when it was read, and what it says.
STAMPED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (.*)", re.S)


def stamped(clean: Callable[[str], str]) -> Callable[[str], str]:
    """Return what puts the time before each line of a log.

    Args:
        clean: Given the lines before that, as to mask secrets.
    """

    def stamp(text: str) -> str:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return "".join(f"{now} {line}" for line in _lines(clean(text)))

    return stamp


def without_stamps(log: str) -> str:
    """Return a log as the service has printed it."""
    found = ((STAMPED.fullmatch(line), line) for line in _lines(log))
    return "".join(line if stamp is None else stamp[2] for stamp, line in found)


def _lines(text: str) -> list[str]:
    """Return lines with their ends; other characters that end lines are the service's own."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)
