"""What of a server's log explains a run that failed."""

from __future__ import annotations

import json

import pytest

from pytest_agent_sandbox.client import server_log
from pytest_agent_sandbox.client.server_log import ServerLog
from pytest_agent_sandbox.host.redaction import Redactor


def line(message: str, level: str = "INFO") -> str:
    return json.dumps({"asctime": "2026-01-01", "levelname": level, "message": message})


class Log:
    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)

    def tail(self, lines: int) -> str:
        return "\n".join(self.lines[-lines:])


def test_what_a_program_printed_since_the_run_began() -> None:
    log = Log(line("ACP stderr: earlier"), line("Starting"))
    run = ServerLog(log.tail, Redactor())
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
    run = ServerLog(log.tail, Redactor())
    log.lines += [line(f"ACP stderr: {number:03} " + "x" * 1000) for number in range(900)]
    quoted = run.of_program().splitlines()
    assert [words[:6].strip() for words in quoted] == [f"{number}" for number in range(890, 900)]
    assert {len(words) for words in quoted} == {302}


def test_a_log_that_is_out_of_reach_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_log, "_PATIENCE", 0.0)
    nothing = ServerLog(lambda _: "", Redactor())
    assert nothing.of_program() == ""
    assert nothing.of_server() == ""


PEM = '-----BEGIN KEY-----\nMIIEv"gIBAD\u00e4NBgkq\nhki\\G9w0BAQEFAASC\n-----END KEY-----\n'
SHORT = "secret-12"
LONG = f"{SHORT}-and-the-long-rest"


@pytest.mark.parametrize("by_program", [True, False])
@pytest.mark.parametrize(
    ("said", "quoted"),
    [
        (f"one {SHORT}, other {LONG}", "one ***, other ***"),
        (f"key: {PEM}", "key: ***"),
        ('M\u00fcller\'s "quoted" key', "***"),
        ("x" * 290 + LONG + " and so on", ("x" * 290 + "*** and so on")[:300]),
    ],
)
def test_no_part_of_a_secret_is_quoted(said: str, quoted: str, by_program: bool) -> None:
    redactor = Redactor()
    redactor.add(SHORT, LONG, PEM, 'M\u00fcller\'s "quoted" key')
    log = Log()
    run = ServerLog(log.tail, redactor)
    log.lines += [line(f"ACP stderr: {said}" if by_program else said, "ERROR")]
    assert (run.of_program() if by_program else run.of_server()) == f"  {quoted}"


def test_a_key_of_several_lines_that_is_printed_line_by_line() -> None:
    redactor = Redactor()
    redactor.add(PEM)
    log = Log()
    run = ServerLog(log.tail, redactor)
    printed = PEM.splitlines()
    log.lines += [line(f"ACP stderr: {part}") for part in printed]
    assert run.of_program() == "  ***"
    log.lines[0] = line("ACP stderr: the log begins in the middle of it")
    assert run.of_program() == "\n".join(
        ["  the log begins in the middle of it", *["  ***"] * (len(printed) - 1)]
    )
