"""What phases add up to, and what explains a failure."""

import pytest

from pytest_agent_sandbox.evidence.result import Result
from pytest_agent_sandbox.evidence.story import Step
from pytest_agent_sandbox.evidence.verdict import failed_calls, hints, judge

PASSED = {"outcome": "passed", "error": "", "fault": "", "report": ""}
SKIPPED = {**PASSED, "outcome": "skipped"}


def failed(error="AssertionError: no", fault="assertion", **more):
    return {"outcome": "failed", "error": error, "fault": fault, **more}


@pytest.mark.parametrize(
    ("phases", "verdict", "fault", "headline"),
    [
        ({}, "running", "", ""),
        ({"setup": PASSED}, "running", "", ""),
        ({"setup": PASSED, "teardown": PASSED}, "running", "", ""),
        ({"setup": PASSED, "call": PASSED}, "passed", "", ""),
        ({"setup": PASSED, "call": PASSED, "teardown": PASSED}, "passed", "", ""),
        ({"setup": SKIPPED, "teardown": PASSED}, "skipped", "", ""),
        # What pytest makes of an expected failure.
        ({"setup": PASSED, "call": SKIPPED, "teardown": PASSED}, "skipped", "", ""),
        (
            {"setup": failed("SandboxDied: gone", "sandbox"), "teardown": PASSED},
            "failed",
            "sandbox",
            "SandboxDied: gone",
        ),
        (
            {"setup": PASSED, "call": failed(), "teardown": failed("SandboxDied: x", "sandbox")},
            "failed",
            "assertion",
            "AssertionError: no",
        ),
        (
            {"setup": PASSED, "call": PASSED, "teardown": failed("CassetteUnused: 2", "agent")},
            "failed",
            "agent",
            "CassetteUnused: 2",
        ),
        (
            {"setup": PASSED, "call": SKIPPED, "teardown": failed("E: x", "test")},
            "failed",
            "test",
            "E: x",
        ),
    ],
)
def test_the_first_failure_decides(phases, verdict, fault, headline):
    assert judge(phases) == (verdict, fault, headline)


def test_an_expected_failure_that_did_not_come_has_no_error():
    phases = {"call": failed("", "", report="[XPASS(strict)] known bug")}
    assert judge(phases) == ("failed", "test", "[XPASS(strict)] known bug")
    assert judge({"call": failed("", "", report="")})[2] == "The test failed without a word."


def test_phases_of_another_version():
    assert judge({"call": {}}) == ("passed", "", "")
    assert judge({"call": {"outcome": "failed"}})[:2] == ("failed", "test")


@pytest.mark.parametrize(
    ("error", "headline"),
    [
        ("AssertionError: assert 1 == 2\n +  where 1 = f()", "AssertionError: assert 1 == 2"),
        ("\n\n  ValueError: x  \nmore", "ValueError: x"),
        ("CassetteMiss:\n  The call is not there", "CassetteMiss: The call is not there"),
        ("CassetteMiss:", "CassetteMiss:"),
        ("pytest_agent_sandbox.errors.SandboxDied: gone", "SandboxDied: gone"),
        ("E: pytest_agent_sandbox.errors.X", "E: pytest_agent_sandbox.errors.X"),
        ("CassetteMiss:\n \n", "CassetteMiss:"),
        ("E: " + "x" * 300, "E: " + "x" * 297 + "…"),
        ("x" * 10_000_000, "x" * 300 + "…"),
    ],
    ids=range(9),
)
def test_the_headline_is_one_line(error, headline):
    assert judge({"call": failed(error)})[2] == headline


def test_nothing_unusual_needs_no_hint():
    sandbox = {"container": "box", "state": "running", "out_of_memory": False, "exit_code": None}
    result = Result(
        verdict="failed",
        sandboxes=[sandbox],
        conversations=[{"number": 1, "status": "finished"}],
    )
    assert hints(result) == []


def test_hints_name_what_happened():
    result = Result(
        verdict="failed",
        sandboxes=[
            {"container": "one", "state": "exited", "exit_code": 137, "out_of_memory": True,
             "memory": "256 MB"},
            {"container": "two", "state": "removed"},
            {"container": "three", "state": "paused"},
            {"container": "four", "out_of_memory": True, "memory": "no limit"},
        ],
        conversations=[
            {"number": 1, "status": "stuck"},
            {"number": 2, "status": "running"},
        ],
        notes=["a note"],
    )  # fmt: skip
    assert hints(result) == [
        "Memory ran out in sandbox one, and the kernel killed a process in it; its limit is "
        "256 MB.",
        "Sandbox one had ended, with exit code 137.",
        "Sandbox two was removed while the test still ran.",
        "Sandbox three was paused when the test ended.",
        "Memory ran out in sandbox four, and the kernel killed a process in it.",
        "Conversation 1 ended as stuck.",
        "Conversation 2 was still running when the test ended.",
        "a note",
    ]


def call(summary, is_error=True, kind="tool", facts=()):
    return Step(kind=kind, title="terminal", summary=summary, is_error=is_error, facts=list(facts))


def test_tool_calls_that_failed():
    fine, log = call("ls", is_error=False), call("x", kind="log")
    assert failed_calls([fine, log]) == []
    one = call("make " + "x" * 200, facts=[("exit code", "2")])
    assert failed_calls([one, fine, log]) == [
        f"A tool call failed (terminal: make {'x' * 75}, exit code 2)."
    ]
    assert failed_calls([one, call("rm x")]) == ["2 tool calls failed, last of all terminal: rm x."]


def test_a_test_that_never_ended_says_so():
    (hint,) = hints(Result())
    assert "never came to its end" in hint


def test_facts_that_are_not_what_they_should_be():
    odd = [{}, {"state": None, "out_of_memory": "?"}, {"number": [], "status": {}}]
    result = Result(verdict="failed", sandboxes=odd, conversations=odd)
    assert len(hints(result)) == 1
