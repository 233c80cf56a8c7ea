"""Lines of a container's log, as a person reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from pytest_agent_sandbox.evidence.clock import Clock
from pytest_agent_sandbox.evidence.story import LogLine

#: The agent server's logger of requests: many lines, which tell a person nothing.
_REQUESTS = "uvicorn.access"
#: How a command's output is read while it runs: the same line again and again.
_READINGS = "Downloading file: /tmp/command-"
#: Levels at which a server says that something is wrong.
TROUBLE = ("WARNING", "ERROR", "CRITICAL")
#: When a line of a service was read, and what it says: see `sandbox.services.log_stamps`.
_STAMPED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (.*)", re.S)
#: How databases and queues say how bad something is: a word of its own, in capital letters.
_LEVEL = re.compile(r"\b(?:WARN(?:ING)?|ERROR|FATAL|PANIC|CRITICAL|SEVERE)\b")
_FRACTION = re.compile(r",(\d{3})$")
#: What the agent server (1.58) complains of in every test: how it was started, and that a workspace
#: is no git repository yet.
_USUAL = ("Current configuration will not reload", "Git command failed: git rev-parse --git-dir")

#: Their level, so that nobody takes them for a cause.
_USUAL_LEVEL = "usual"


def read(path: Path, clock: Clock, container: str = "") -> list[LogLine]:
    """Read the lines of a log; one that is missing has none.

    The agent server writes a JSON object on each line (with `LOG_JSON=true`): they become lines
    with a time and a level, without the requests. Anything else, such as a traceback, stays as it
    is and belongs to the record before it.

    Args:
        path: The log.
        clock: Reads the server's times.
        container: The container's name.
    """
    if not path.exists():
        return []
    with path.open(encoding="utf-8", errors="replace") as file:
        return _read(file, clock, container)


def read_stamped(path: Path, clock: Clock, service: str) -> list[LogLine]:
    """Read the lines of a service's log, which have the time in front; what is missing has none.

    Args:
        path: The log.
        clock: Reads the times.
        service: The service's name.
    """
    if not path.exists():
        return []
    lines = []
    for line in path.read_text("utf-8", errors="replace").splitlines():
        found = _STAMPED.fullmatch(line)
        time, text = (clock.seconds(found[1]), found[2]) if found else (None, line)
        lines.append(LogLine(time=time, level=_level(text), text=text, container=service))
    return lines


def _level(text: str) -> str:
    """Return the level that a line of any program seems to have; empty where it has none."""
    found = _LEVEL.search(text)
    if found is None:
        return ""
    return "WARNING" if found[0].startswith("WARN") else "ERROR"


def readable(log: str, most: int) -> str:
    """Return the last lines of a log's text, at most so many, each with its level."""
    lines = [
        f"{line.level.lower():<7}  {line.text}" if line.level else line.text
        for line in _read(log.splitlines(), Clock(0.0), "")
    ]
    return "\n".join("\n".join(lines).splitlines()[-most:])


def _read(log: Iterable[str], clock: Clock, container: str) -> list[LogLine]:
    lines: list[LogLine] = []
    for is_plain, group in groupby(_records(log), lambda record: isinstance(record, str)):
        if is_plain:
            # Joined at once: there may be a million of them.
            time = lines[-1].time if lines else None
            text = "\n".join(map(str, group))
            lines.append(LogLine(time=time, level="", text=text, container=container))
            continue
        lines += (
            _line(record, clock, container)
            for record in group
            if isinstance(record, dict) and not _says_nothing(record)
        )
    return lines


def is_trouble(line: LogLine) -> bool:
    """Tell whether a line says that something is wrong."""
    return line.level in TROUBLE


def _says_nothing(record: dict[str, Any]) -> bool:
    is_reading = str(record["message"]).startswith(_READINGS)
    return is_reading or record.get("name") == _REQUESTS


def _records(log: Iterable[str]) -> Iterator[dict[str, Any] | str]:
    for line in log:
        text = line.rstrip("\r\n")
        record = _record(text) if text.startswith("{") else None
        yield text if record is None else record


def _record(text: str) -> dict[str, Any] | None:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return record if {"asctime", "message"} <= set(record) else None


def _line(record: dict[str, Any], clock: Clock, container: str) -> LogLine:
    text = str(record["message"]).rstrip()
    if record.get("exc_info"):
        text += f"\n{record['exc_info']}"
    return LogLine(
        time=clock.seconds(_FRACTION.sub(r".\1", str(record["asctime"]))),
        level=_USUAL_LEVEL if text.startswith(_USUAL) else str(record.get("levelname", "")),
        text=text,
        container=container,
    )
