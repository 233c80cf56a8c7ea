"""What the phases of a test add up to, and what a reader should know before anything else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_agent_sandbox import errors
from pytest_agent_sandbox.evidence.result import Result
from pytest_agent_sandbox.evidence.story import Fault, Step, Verdict

_LONGEST_HEADLINE = 300
_LONGEST_CALL = 80
#: Python names an error with its module, which is ours.
_OWN_ERRORS = f"{errors.__name__}."
_UNHAPPY = ("error", "stuck")


def judge(phases: Mapping[str, Mapping[str, Any]]) -> tuple[Verdict, Fault, str]:
    """The verdict, whose fault it was, and what happened in one line.

    Args:
        phases: By name, in their order; each has `outcome`, `error` and `fault`.
    """
    for phase in phases.values():
        if phase.get("outcome") == "failed":
            # A test that passes although it is marked `xfail(strict=True)` fails without an error.
            words = phase.get("error") or phase.get("report") or ""
            return "failed", phase.get("fault") or "test", _headline(words)
    for phase in phases.values():
        if phase.get("outcome") == "skipped":
            return "skipped", "", ""
    return ("passed" if "call" in phases else "running"), "", ""


def failed_calls(steps: Sequence[Step]) -> list[str]:
    """A sentence on the tool calls that failed, for an agent may pass over them in silence."""
    failed = [step for step in steps if step.kind == "tool" and step.is_error]
    if not failed:
        return []
    last = failed[-1]
    codes = [f", exit code {code}" for name, code in last.facts if name == "exit code"]
    call = f"{last.title}: {last.summary[:_LONGEST_CALL]}{''.join(codes)}"
    if len(failed) == 1:
        return [f"A tool call failed ({call})."]
    return [f"{len(failed)} tool calls failed, last of all {call}."]


def hints(result: Result) -> list[str]:
    """What explains a failure more often than not, in sentences."""
    return [*_of_sandboxes(result), *_of_conversations(result), *result.notes]


def _of_sandboxes(result: Result) -> Iterator[str]:
    for facts in result.sandboxes:
        name, state = facts.get("container", "?"), str(facts.get("state", ""))
        if facts.get("out_of_memory"):
            limit = facts.get("memory", "")
            its = f"; its limit is {limit}" if limit and limit != "no limit" else ""
            yield f"Memory ran out in sandbox {name}, and the kernel killed a process in it{its}."
        if state in ("exited", "dead"):
            yield f"Sandbox {name} had ended, with exit code {facts.get('exit_code')}."
        elif state == "removed":
            yield f"Sandbox {name} was removed while the test still ran."
        elif state == "paused":
            yield f"Sandbox {name} was paused when the test ended."


def _of_conversations(result: Result) -> Iterator[str]:
    if result.verdict == "running":
        yield (
            "The test never came to its end: pytest was killed, or is still running. What was "
            "written up to that moment is here."
        )
    for facts in result.conversations:
        number, status = facts.get("number"), facts.get("status")
        if status in _UNHAPPY:
            yield f"Conversation {number} ended as {status}."
        elif status == "running":
            yield f"Conversation {number} was still running when the test ended."


def _headline(error: str) -> str:
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    first = lines[0] if lines else "The test failed without a word."
    first = first.removeprefix(_OWN_ERRORS)
    if first.endswith(":") and len(lines) > 1:
        first = f"{first} {lines[1]}"
    if len(first) > _LONGEST_HEADLINE:
        return f"{first[:_LONGEST_HEADLINE]}…"
    return first
