"""A container's log, as a person reads it."""

from __future__ import annotations

import json
from pathlib import Path

#: The agent server's logger of requests: many lines, which tell a person nothing.
_REQUESTS = "uvicorn.access"


def tail(path: Path, lines: int) -> str:
    """The end of a log.

    The agent server writes a JSON object on each line (with `LOG_JSON=true`): they become
    `time level message`, without the requests. Anything else, such as a traceback, stays as it is.

    Args:
        path: The log; it may be missing.
        lines: How many lines to show, at most.
    """
    if not path.exists():
        return ""
    written = path.read_text(encoding="utf-8", errors="replace").splitlines()
    shown = [text for line in written if (text := _readable(line)) is not None]
    hidden = len(shown) - lines
    if hidden > 0:
        shown = [f"… {hidden} earlier lines are in {path.name}", *shown[-lines:]]
    return "\n".join(shown)


def _readable(line: str) -> str | None:
    try:
        record = json.loads(line)
        if record["name"] == _REQUESTS:
            return None
        clock = str(record["asctime"]).rpartition(" ")[2]
        text = f"{clock} {record['levelname']:<7} {record['message']}"
        return f"{text}\n{record['exc_info']}" if record.get("exc_info") else text
    except (ValueError, TypeError, KeyError):
        return line
