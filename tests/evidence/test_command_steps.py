"""The commands that a test itself ran."""

from pytest_agent_sandbox.evidence.command_steps import build_steps


def test_a_command_and_its_outcome():
    record = {
        "time": 1010.5,
        "command": "cat\n  x.txt",
        "exit_code": 1,
        "stdout": "",
        "stderr": "no such file",
        "duration": 0.25,
    }
    (step,) = build_steps([record], 1000.0)
    assert (step.kind, step.summary) == ("test", "cat x.txt")
    assert (step.time, step.duration) == (10.5, 0.25)
    assert step.facts == [("exit code", "1")]
    assert not step.is_error, "tests look for what is not there"
    assert [(part.label, part.text) for part in step.parts] == [
        ("command", "cat\n  x.txt"),
        ("errors", "no such file"),
    ]


def test_a_command_whose_timeout_struck():
    (step,) = build_steps([{"command": "sleep 9", "exit_code": -1, "timed_out": True}], 0.0)
    assert step.facts == [("exit code", "timed out")]


def test_records_that_are_not_what_they_should_be():
    (step,) = build_steps([{"time": "?", "duration": [], "command": None, "stdout": 7}], 0.0)
    assert (step.time, step.duration) == (None, None)
