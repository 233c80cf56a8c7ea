"""The container's log, as a person reads it."""

import json

from pytest_agent_sandbox.evidence.container_log import tail


def record(**fields):
    base = {"asctime": "2026-01-01 10:00:00,123", "levelname": "INFO", "name": "x"}
    return json.dumps({**base, **fields})


def test_records_become_lines_requests_are_left_out_and_the_rest_stays(tmp_path):
    log = tmp_path / "container.log"
    lines = [
        record(message="ready"),
        record(name="uvicorn.access", message="GET /alive 200"),
        "Traceback (most recent call last):",
        record(levelname="ERROR", message="it broke", exc_info="ValueError: no"),
        "{not json",
        "[1, 2]",
    ]
    log.write_text("\n".join(lines))
    assert tail(log, 20).splitlines() == [
        "10:00:00,123 INFO    ready",
        "Traceback (most recent call last):",
        "10:00:00,123 ERROR   it broke",
        "ValueError: no",
        "{not json",
        "[1, 2]",
    ]


def test_a_long_log_is_cut_and_says_so(tmp_path):
    log = tmp_path / "container.log"
    log.write_text("".join(f"line {n}\n" for n in range(50)))
    lines = tail(log, 10).splitlines()
    assert lines[0] == "… 40 earlier lines are in container.log"
    assert lines[-1] == "line 49"


def test_no_log(tmp_path):
    assert tail(tmp_path / "none", 10) == ""
