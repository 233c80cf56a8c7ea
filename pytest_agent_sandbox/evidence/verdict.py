"""Verdict on a test: what its phases add up to."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import Any, NamedTuple

from pytest_agent_sandbox import errors
from pytest_agent_sandbox.evidence.readable import without_addresses
from pytest_agent_sandbox.evidence.story import Blame, Verdict

_LONGEST_HEADLINE = 300
#: Python names an error with its module, which is ours.
_OWN_ERRORS = f"{errors.SandboxError.__module__}."
#: How the lines of a difference begin.
_SIGNS = ("- ", "+ ")
#: What fails in a test whose agent had no LLM.
_MAY_FOLLOW = ("agent", "assertion")


class Judgement(NamedTuple):
    """Verdict on a test, whose fault it was, and what happened in one line."""

    verdict: Verdict
    fault: Blame = ""
    headline: str = ""


def judge(phases: Mapping[str, Mapping[str, Any]], unanswered: str = "") -> Judgement:
    """Judge a test by how its phases went.

    Args:
        phases: By name, in their order; each has `outcome`, `error` and `fault`.
        unanswered: Why its last LLM call got no answer; empty if it did.
    """
    for phase in phases.values():
        if phase.get("outcome") == "failed":
            # A test that passes although it is marked `xfail(strict=True)` fails without an error.
            words = phase.get("error") or phase.get("report") or ""
            if unanswered and phase.get("fault") in _MAY_FOLLOW:
                words = f"{unanswered}. {_headline(words)}"
                return Judgement("failed", "script", _headline(words))
            return Judgement("failed", phase.get("fault") or "test", _headline(words))
    for phase in phases.values():
        if phase.get("outcome") == "skipped":
            return Judgement("skipped")
    return Judgement("passed" if "call" in phases else "running")


def failed_line(report: str) -> str:
    """Find the line of the test's code that failed in pytest's report of it; empty without one."""
    marked = [line[1:].strip() for line in report.splitlines() if line.startswith(">")]
    return marked[-1][:_LONGEST_HEADLINE] if marked else ""


def _headline(error: str) -> str:
    lines = [line.strip() for line in without_addresses(error).splitlines() if line.strip()]
    first = lines[0] if lines else "The test failed without a word."
    first = first.removeprefix(_OWN_ERRORS)
    if first.endswith(":"):
        difference = list(takewhile(lambda line: line.startswith(_SIGNS), lines[1:]))
        first = " ".join([first, *(difference or lines[1:2])])
    if len(first) > _LONGEST_HEADLINE:
        return f"{first[:_LONGEST_HEADLINE]}…"
    return first
