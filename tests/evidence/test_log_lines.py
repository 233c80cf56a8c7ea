"""A container's log, as a person reads it."""

import json
import time

import pytest

from pytest_agent_sandbox.evidence import log_lines
from pytest_agent_sandbox.evidence.clock import Clock
from pytest_agent_sandbox.evidence.story import LogLine
from tests.support.events import RECEIVED


def server_line(**fields):
    base = {"asctime": "2026-01-01 10:00:02,250", "levelname": "INFO", "name": "x", "lineno": 1}
    return json.dumps(base | fields)


@pytest.fixture
def read(tmp_path):
    def read(content, container=""):
        path = tmp_path / "container.log"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return log_lines.read(path, Clock(RECEIVED), container)

    return read


def test_records_become_lines_requests_are_left_out_and_the_rest_stays(read):
    lines = read(
        "\n".join(
            [
                "starting",
                "…",
                server_line(message="ready"),
                server_line(name="uvicorn.access", message="GET /alive 200"),
                server_line(levelname="ERROR", message="it broke", exc_info="Traceback:\nno"),
                "a line",
                '{"not": "a record"}',
                "[1, 2]",
                server_line(message="going on"),
            ]
        )
    )
    assert [(line.time, line.level, line.text) for line in lines] == [
        (None, "", "starting\n…"),
        (2.25, "INFO", "ready"),
        (2.25, "ERROR", "it broke\nTraceback:\nno"),
        (2.25, "", 'a line\n{"not": "a record"}\n[1, 2]'),
        (2.25, "INFO", "going on"),
    ]


def test_the_readings_of_a_command_s_output_are_left_out(read):
    lines = read(
        "\n".join(
            [
                server_line(message="Downloading file: /tmp/command-0123/out"),
                server_line(message="Downloading file: /workspace/project/out"),
            ]
        )
    )
    assert [line.text for line in lines] == ["Downloading file: /workspace/project/out"]


def test_lines_know_their_container(read):
    assert {line.container for line in read(f"x\n{server_line(message='y')}", "box")} == {"box"}


def test_the_usual_complaints_are_no_trouble(read):
    usual, real, error = read(
        "\n".join(
            [
                server_line(
                    levelname="WARNING", message="Current configuration will not reload as"
                ),
                server_line(levelname="WARNING", message="memory is low"),
                server_line(levelname="ERROR", message="it broke"),
            ]
        )
    )
    assert not log_lines.is_trouble(usual)
    assert log_lines.is_trouble(real)
    assert log_lines.is_trouble(error)
    assert not log_lines.is_trouble(LogLine(time=None, level="", text="ERROR"))


@pytest.mark.parametrize(
    "bad",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"asctime": 5, "message": null}',
        b'{"asctime": [], "message": {}, "levelname": 7, "name": [], "exc_info": {"a": 1}}',
        b'{"asctime": "2026-01-01 10:00:00,1", "message": "\\ud800\\u0000"}',
        b'{"asctime": "?", "message": ' + b"9" * 5000 + b"}",
        b"\xff\xfe\x00\x1b[2J\r",
        b'{"asctime": "2026-01-01 10:00:00,123", "mess',
    ],
)
def test_lines_of_any_kind(read, bad):
    lines = read(b"before\n" + bad + b"\nafter\n" + server_line(message="end").encode())
    assert lines[0].text.startswith("before")
    assert lines[-1].text == "end"
    assert all(isinstance(line.text, str) and isinstance(line.level, str) for line in lines)


def test_the_last_lines_of_a_log_in_an_error():
    log = "\n".join(
        [
            "starting",
            server_line(message="ready\n"),
            server_line(name="uvicorn.access", message="GET /alive 200"),
            server_line(levelname="ERROR", message="it broke", exc_info="Traceback:\nno"),
            "panic",
        ]
    )
    assert log_lines.readable(log, 100).splitlines() == [
        "starting",
        "info     ready",
        "error    it broke",
        "Traceback:",
        "no",
        "panic",
    ]
    assert log_lines.readable(log, 2) == "no\npanic"
    assert log_lines.readable("", 2) == ""


def test_no_log_and_an_empty_one(read, tmp_path):
    assert log_lines.read(tmp_path / "none", Clock(0)) == []
    assert read("") == []


def test_a_log_of_a_hundred_thousand_plain_lines_takes_no_time(read):
    began = time.perf_counter()
    (line,) = read("plain text of some fifty characters, a line of a log\n" * 100_000)
    assert time.perf_counter() - began < 5  # joined one by one: a minute
    assert line.text.count("\n") == 99_999
