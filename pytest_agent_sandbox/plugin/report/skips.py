"""Tests that were skipped for want of something, counted for the terminal's summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

#: How the reasons begin: nobody answers the agent, or there is no engine.
NOBODY_ANSWERS = "no agent_llm.script([…]), no cassette and no live LLM"
NO_ENGINE = "sandbox_no_engine = skip"

#: How pytest (9.2) begins each reason.
_SKIPPED = "Skipped: "


#: How the reason ends.
_WHAT_TO_DO = "set them to run it with a live LLM and record it"


def nobody_answers(missing: str) -> str:
    """Return the reason to skip a test whose LLM calls nobody answers.

    Args:
        missing: What a live LLM lacks.
    """
    return f"{NOBODY_ANSWERS} ({missing}: {_WHAT_TO_DO})"


def summary(reports: Iterable[Any]) -> list[str]:
    """Return a line for each of these reasons: how many tests, and why.

    Args:
        reports: Those of tests that were skipped.
    """
    reasons = Counter(reason for report in reports if (reason := _reason(report)))
    return [
        f"agent-sandbox: {count} {'test' if count == 1 else 'tests'} skipped: {reason}"
        for reason, count in reasons.most_common()
    ]


def _reason(report: Any) -> str:
    place = getattr(report, "longrepr", None)
    if not isinstance(place, tuple):  # failed as expected, which counts as skipped too
        return ""
    reason = str(place[-1]).removeprefix(_SKIPPED)
    return reason if reason.startswith((NOBODY_ANSWERS, NO_ENGINE)) else ""
