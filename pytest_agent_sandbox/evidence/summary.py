"""Summary of a test in a sentence: what stands under its verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_agent_sandbox.evidence.result import Result
from pytest_agent_sandbox.evidence.story import Change

_ENDS = {
    "finished": "after the agent had finished",
    "running": "while the agent was running",
    "paused": "while the agent was paused",
    "stuck": "after the agent got stuck",
    "error": "after the agent's run ended in an error",
}


def summarize(found: Result, changes: Sequence[Change]) -> str:
    """Return the sentence; empty for a test that has not ended, or was skipped.

    Args:
        found: The test's result.
        changes: What changed on disk.
    """
    if found.verdict not in ("failed", "passed") or found.duration is None:
        return ""
    when = _when(found) if found.verdict == "failed" else f"Passed in {found.duration:.1f} s"
    done = ", ".join(_done(found, changes))
    return f"{when}: {done}." if done else f"{when}."


def _when(found: Result) -> str:
    failed = next(
        (name for name, one in found.phases.items() if one.get("outcome") == "failed"), ""
    )
    if failed == "setup":
        return f"Failed in its setup, after {found.duration:.1f} s"
    where = "Failed in its teardown" if failed == "teardown" else "Failed"
    return ", ".join([f"{where} after {found.duration:.1f} s", *_agent(found)])


def _agent(found: Result) -> Iterator[str]:
    if found.conversations:
        status = str(found.conversations[-1].get("status", ""))
        if status in _ENDS:
            yield _ENDS[status]
    elif found.agent_runs:
        run = found.agent_runs[-1]
        if run.get("timed_out"):
            yield "after the agent's time was up"
        elif "exit_code" in run:
            yield f"after the agent ended with exit code {run['exit_code']}"


def _done(found: Result, changes: Sequence[Change]) -> Iterator[str]:
    if found.conversations or found.steps:
        yield _count(found.steps, "agent step")
    for kind, number in found.llm.calls.items():
        yield _count(number, f"{kind} LLM call")
    if changes:
        yield _count(len(changes), "changed file")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
