"""What of a server's log explains a run that failed."""

from __future__ import annotations

import json

import pytest

from pytest_agent_sandbox.client import server_log
from pytest_agent_sandbox.client.server_log import ServerLog


def line(message: str, level: str = "INFO") -> str:
    return json.dumps({"asctime": "2026-01-01", "levelname": level, "message": message})


class Log:
    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)

    def tail(self, lines: int) -> str:
        return "\n".join(self.lines[-lines:])


def test_what_a_program_printed_since_the_run_began() -> None:
    log = Log(line("ACP stderr: earlier"), line("Starting"))
    run = ServerLog(log.tail)
    log.lines += [
        line("ACP stderr: Error: no key"),
        line("Unrelated", "ERROR"),
        "Traceback (most recent call last):",
        "{not json",
        "[1, 2]",
        line("ACP stderr:     at main.js:1"),
        line("ACP stderr: "),
        line("ACP stdout (non-JSON): Usage: agent"),
    ]
    assert run.of_program() == "  Error: no key\n      at main.js:1\n  Usage: agent"
    assert run.of_server() == "  Unrelated"


def test_only_the_end_of_it_is_quoted() -> None:
    log = Log()
    run = ServerLog(log.tail)
    log.lines += [line(f"ACP stderr: {number:03} " + "x" * 1000) for number in range(900)]
    quoted = run.of_program().splitlines()
    assert [words[:6].strip() for words in quoted] == [f"{number}" for number in range(890, 900)]
    assert {len(words) for words in quoted} == {302}


def test_a_log_that_is_out_of_reach_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_log, "_PATIENCE", 0.0)
    nothing = ServerLog(lambda _: "")
    assert nothing.of_program() == ""
    assert nothing.of_server() == ""
