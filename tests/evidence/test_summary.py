"""The sentence under a test's verdict."""

import pytest

from pytest_agent_sandbox.evidence.result import LLMTotals, Result
from pytest_agent_sandbox.evidence.story import Change
from pytest_agent_sandbox.evidence.summary import summarize

CHANGE = Change(path="a", status="added", added=1, removed=0, diff="")
CALL = {"call": {"outcome": "failed"}}


def said(changes=(), **fields):
    return summarize(
        Result(**{"verdict": "failed", "duration": 16.44, "phases": CALL} | fields), changes
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "Failed after 16.4 s."),
        ({"phases": {"setup": {"outcome": "failed"}}}, "Failed in its setup, after 16.4 s."),
        (
            {"phases": {"call": {"outcome": "passed"}, "teardown": {"outcome": "failed"}}},
            "Failed in its teardown after 16.4 s.",
        ),
        (
            {"conversations": [{"status": "running"}, {"status": "finished"}], "steps": 1},
            "Failed after 16.4 s, after the agent had finished: 1 agent step.",
        ),
        (
            {"conversations": [{"status": "unheard of"}]},
            "Failed after 16.4 s: 0 agent steps.",
        ),
        (
            {"agent_runs": [{"exit_code": 3}], "llm": LLMTotals(calls={"replayed": 2})},
            "Failed after 16.4 s, after the agent ended with exit code 3: 2 replayed LLM calls.",
        ),
        (
            {"agent_runs": [{"timed_out": True, "exit_code": -1}]},
            "Failed after 16.4 s, after the agent's time was up.",
        ),
        ({"agent_runs": [{"name": "run-1"}]}, "Failed after 16.4 s."),
        ({"verdict": "passed"}, "Passed in 16.4 s."),
        ({"verdict": "skipped"}, ""),
        ({"verdict": "running", "duration": None}, ""),
    ],
)
def test_how_it_went(fields, expected):
    assert said(**fields) == expected


def test_what_changed():
    assert said([CHANGE]) == "Failed after 16.4 s: 1 changed file."
    assert said([CHANGE] * 2) == "Failed after 16.4 s: 2 changed files."
