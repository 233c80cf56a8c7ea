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
        clean: Given the line before that, as to mask secrets.
    """

    def stamp(line: str) -> str:
        if not line:  # the end of a log whose last line is whole
            return line
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return f"{now} {clean(line)}"

    return stamp


def without_stamps(log: str) -> str:
    """Return a log as the service has printed it."""
    lines = log.splitlines(keepends=True)
    return "".join(found[2] if (found := STAMPED.fullmatch(line)) else line for line in lines)
