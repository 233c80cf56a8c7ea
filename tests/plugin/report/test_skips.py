"""Skipped tests that are counted for the end of the run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pytest_agent_sandbox.plugin.report.skips import NO_ENGINE, NOBODY_ANSWERS, summary


def skipped(reason: str) -> Any:
    return SimpleNamespace(longrepr=("test_it.py", 3, f"Skipped: {reason}"))


def test_those_that_want_something_are_counted_by_reason() -> None:
    reports = [
        skipped("unconditional skip"),
        *[skipped(f"{NOBODY_ANSWERS} (LLM_MODEL is not set)")] * 2,
        skipped(f"{NO_ENGINE}: none answers"),
        SimpleNamespace(longrepr=f"{NO_ENGINE}: a failure that was expected"),
        SimpleNamespace(longrepr=None),
        SimpleNamespace(),
    ]
    assert summary(reports) == [
        f"agent-sandbox: 2 tests skipped: {NOBODY_ANSWERS} (LLM_MODEL is not set)",
        f"agent-sandbox: 1 test skipped: {NO_ENGINE}: none answers",
    ]
    assert summary([]) == []
