"""What phases add up to, and what explains a failure."""

import pytest

from pytest_agent_sandbox.evidence.verdict import failed_line, judge

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
            {"setup": PASSED, "call": PASSED, "teardown": failed("CassetteUnused: 2", "script")},
            "failed",
            "script",
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


def test_a_difference_is_in_the_headline():
    error = (
        "CassetteMiss: Not as recorded: message 2 (user):\n    - a [-cat-]\n    + a [+dog+]\n"
        "  message 3 (tool): new:\n    + x\nIt is not in x.json."
    )
    headline = judge({"call": failed(error, "script")}).headline
    assert headline == "CassetteMiss: Not as recorded: message 2 (user): - a [-cat-] + a [+dog+]"
    error = "CassetteMiss: Not as recorded: message 2 (user): only the white space is different\nx"
    assert judge({"call": failed(error, "script")}).headline == error.splitlines()[0]


def test_an_expected_failure_that_did_not_come_has_no_error():
    phases = {"call": failed("", "", report="[XPASS(strict)] known bug")}
    assert judge(phases) == ("failed", "test", "[XPASS(strict)] known bug")
    assert judge({"call": failed("", "", report="")})[2] == "The test failed without a word."


@pytest.mark.parametrize("fault", ["agent", "assertion"])
def test_an_agent_without_an_llm_is_not_to_blame(fault):
    unanswered = "The LLM at http://x cannot be reached: no"
    found = judge({"call": failed("AssertionError: 1\n2", fault)}, unanswered)
    assert found == ("failed", "script", f"{unanswered}. AssertionError: 1")
    died = judge({"call": failed("SandboxDied: gone", "sandbox")}, unanswered)
    assert died == ("failed", "sandbox", "SandboxDied: gone")
    assert judge({"call": PASSED}, unanswered) == ("passed", "", "")


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
        ("pytest_agent_sandbox.SandboxDied: gone", "SandboxDied: gone"),
        ("E: pytest_agent_sandbox.X", "E: pytest_agent_sandbox.X"),
        ("CassetteMiss:\n \n", "CassetteMiss:"),
        ("E: " + "x" * 300, "E: " + "x" * 297 + "…"),
        ("x" * 10_000_000, "x" * 300 + "…"),
    ],
    ids=range(9),
)
def test_the_headline_is_one_line(error, headline):
    assert judge({"call": failed(error)})[2] == headline


def test_the_line_of_code_that_failed():
    report = "def test_x():\n    a = 1\n>   assert a == 2\nE   AssertionError\n\n>   again\n"
    assert failed_line(report) == "again"
    assert failed_line("E  ValueError") == ""
