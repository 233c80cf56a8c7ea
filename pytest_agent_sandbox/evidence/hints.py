"""Hints for the reader of a failed test: what explains a failure more often than not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pytest_agent_sandbox.evidence.llm_steps import UNANSWERED
from pytest_agent_sandbox.evidence.result import Result
from pytest_agent_sandbox.evidence.steps import NO_RESULT
from pytest_agent_sandbox.evidence.story import Hint, LogLine, Step

#: What the result says of the LLM of a program for which none was requested.
NO_LLM = "none: the test does not request agent_llm"
_LONGEST = 160
#: Characters by which two errors are known to be the same.
_SAME = 60
_UNHAPPY = ("error", "stuck")
_GONE = ("exited", "dead", "removed")

# What a program says where the sandbox's settings keep it from something: the words, the setting
# and its values that may be the cause, and what to say.
_KEPT_FROM = (
    (
        ("sudo: ",),
        "security",
        ("default",),
        "sudo does not work in a sandbox of the profile {}: use --sandbox-security=sudo.",
    ),
    (
        ("Read-only file system",),
        "root file system",
        ("read-only",),
        "Outside of the workspace, the home folder and /tmp, the sandbox is {}: "
        "--sandbox-security=strict and --sandbox-isolation=recycled make it so.",
    ),
    (
        (
            "Could not resolve host",
            "Name or service not known",
            "Temporary failure in name",
            "Network is unreachable",
            "may not reach",
        ),
        "network",
        ("isolated, checked from inside",),
        "The sandbox's network is {}: --sandbox-allow=host:port opens single places.",
    ),
)
#: What to do then.
_REQUEST = "request the fixture agent_llm in the test, which sets OPENAI_BASE_URL and the like."
_RUN = "run_agent, in a test that requests agent_llm, sets the like; execute_command does not."
# Steps before the end in which they are looked for, and characters of each.
_LOOKED_AT, _OF_EACH = 40, 4000


# How the agent server begins the errors of ACP agents, and what one writes to its standard error.
_ACP_FAILED, _ACP_SAID = "ACP", "ACP stderr:"

#: What a program says that finds no LLM: the variables that `run_agent` sets, and keys in words.
_VARIABLE = re.compile(r"\b(?:OPENAI|ANTHROPIC)_(?:BASE_URL|API_BASE|API_KEY)\b|\bCODEX_API_KEY\b")
_KEY = re.compile(rf"{_VARIABLE.pattern}|\bAPI[ _-]?key\b", re.IGNORECASE)


def hints(result: Result, steps: Sequence[Step], log: Sequence[LogLine] = ()) -> list[Hint]:
    """Return sentences on a test, the likeliest causes first.

    Args:
        result: Its result.
        steps: Its steps, in the order in which they are numbered.
        log: What its sandboxes have logged.
    """
    numbered = list(enumerate(steps, start=1))
    unanswered = list(_of_llm_calls(numbered))
    found = [
        *_of_the_run(result),
        *_of_sandboxes(result, numbered),
        *unanswered,
        *_of_acp_agents(numbered, log),
        *_of_calls(numbered),
        *_of_programs_without_llm(result, numbered),
        *_of_the_test(result, numbered),
        *_of_settings(result, numbered),
        # What the server says of a run without an LLM is the same in other words.
        *([] if unanswered else _of_conversations(result, numbered)),
    ]
    return found + [Hint(text=note) for note in result.notes]


def _of_the_run(result: Result) -> Iterator[Hint]:
    if result.verdict == "running":
        yield Hint(
            text="The test never came to its end: pytest was killed, or is still running. What was "
            "written up to that moment is here."
        )


def _of_sandboxes(result: Result, numbered: list[tuple[int, Step]]) -> Iterator[Hint]:
    number, during = _unfinished(numbered)
    several = len(result.sandboxes) > 1
    for facts in result.sandboxes:
        name = f"sandbox {facts.get('container')}" if several else "the sandbox"
        state = str(facts.get("state", ""))
        ended = f"{name} ended with exit code {facts.get('exit_code')}"
        if facts.get("out_of_memory"):
            limit = facts.get("memory", "")
            its = f" (limit: {limit})" if limit and limit != "no limit" else ""
            then = f", and {ended}" if state in _GONE else ""
            text = f"Memory ran out in {name}{its}{during}; the kernel killed a process{then}."
            yield Hint(text=text, step=number)
        elif state in ("exited", "dead"):
            yield Hint(text=f"{_capital(ended)}{during}.", step=number)
        elif state == "removed":
            yield Hint(text=f"{_capital(name)} was removed while the test still ran.")
        elif state == "paused":
            yield Hint(text=f"{_capital(name)} was paused when the test ended.")


def _unfinished(numbered: list[tuple[int, Step]]) -> tuple[int | None, str]:
    """Find the tool call that was under way at the end, and how to say so."""
    for number, step in reversed(numbered):
        if step.kind == "tool" and NO_RESULT in step.facts:
            return number, f" while {_call(step)} ran"
    return None, ""


def _of_llm_calls(numbered: list[tuple[int, Step]]) -> Iterator[Hint]:
    """Yield why the last LLM call got no answer, if it did not."""
    calls = [(number, step) for number, step in numbered if step.kind == "llm"]
    if calls and UNANSWERED in calls[-1][1].facts:
        number, step = calls[-1]
        yield Hint(text=f"{step.title} got no answer. {step.summary}", step=number)


def _of_acp_agents(numbered: list[tuple[int, Step]], log: Sequence[LogLine]) -> Iterator[Hint]:
    """Yield what an agent said last of all: the server tells only that it failed."""
    failed = [
        number
        for number, step in numbered
        if step.kind == "error" and step.summary.startswith(_ACP_FAILED)
    ]
    said = [line.text for line in log if line.text.startswith(_ACP_SAID)]
    if failed and said:
        words = said[-1].removeprefix(_ACP_SAID).strip()[:_LONGEST]
        yield Hint(text=f"The last that the agent wrote to its log: {words}", step=failed[-1])


def _of_calls(numbered: list[tuple[int, Step]]) -> Iterator[Hint]:
    """Yield tool calls that failed: an agent may pass over them in silence."""
    failed = [
        (number, step)
        for number, step in numbered
        if step.kind == "tool" and step.is_error and NO_RESULT not in step.facts
    ]
    if not failed:
        return
    number, step = failed[-1]
    what = (
        "A tool call failed" if len(failed) == 1 else f"{len(failed)} tool calls failed, the last"
    )
    yield Hint(text=f"{what}: {_call(step)}{_outcome(step)}", step=number)


def _of_programs_without_llm(result: Result, numbered: list[tuple[int, Step]]) -> Iterator[Hint]:
    """Yield why a program that has failed had no LLM, where it complained of that."""
    runs = {
        str(run.get("name"))
        for run in result.agent_runs
        if run.get("llm") == NO_LLM and run.get("exit_code") and not run.get("timed_out")
    }
    for number, step in reversed(numbered):
        said = "".join(part.text[-_OF_EACH:] for part in step.parts if part.label != "command")
        if step.kind == "message" and step.title == "agent" and step.conversation in runs:
            found, begin, advice = _KEY.search(said), f"{step.conversation} had no LLM", _REQUEST
        elif step.kind == "test" and _exit_code(step) not in ("", "0"):
            found, begin, advice = _VARIABLE.search(said), "The test's own command failed", _RUN
        else:
            continue
        if found is not None:
            yield Hint(text=f'{begin} and said "{found[0]}": {advice}', step=number)
            return


def _of_the_test(result: Result, numbered: list[tuple[int, Step]]) -> Iterator[Hint]:
    """Yield the test's last command where it failed: what it looked for was not there, perhaps."""
    own = [(number, step) for number, step in numbered if step.kind == "test"]
    if not own or result.fault not in ("assertion", "test"):
        return
    number, step = own[-1]
    if _exit_code(step) not in ("", "0"):
        text = f"The test's own command failed: {step.summary[:_LONGEST]}{_outcome(step)}"
        yield Hint(text=text, step=number)


def _of_settings(result: Result, numbered: list[tuple[int, Step]]) -> Iterator[Hint]:
    """Yield what was tried in vain, where the sandbox is there to prevent it."""
    for words, setting, values, text in _KEPT_FROM:
        found = next(
            (
                value
                for facts in result.sandboxes
                if (value := str(facts.get(setting, ""))) in values
            ),
            None,
        )
        for number, step in reversed(numbered[-_LOOKED_AT:]):
            said = "".join(part.text[-_OF_EACH:] for part in step.parts)
            if found and step.kind in ("tool", "test") and any(word in said for word in words):
                yield Hint(text=text.format(found.partition(",")[0]), step=number)
                break


def _of_conversations(result: Result, numbered: list[tuple[int, Step]]) -> Iterator[Hint]:
    is_gone = any(facts.get("state") in _GONE for facts in result.sandboxes)
    for facts in result.conversations:
        number, status = facts.get("number"), facts.get("status")
        if status in _UNHAPPY:
            at, why = _last_error(numbered, str(number))
            if at and _said_already(result, numbered[at - 1][1]):
                continue
            yield Hint(text=f"Conversation {number} ended as {status}{why}.", step=at)
        elif status == "running" and not is_gone:
            yield Hint(text=f"Conversation {number} was still running when the test ended.")


def _said_already(result: Result, step: Step) -> bool:
    """Tell whether the test ended with the words of this error."""
    said = result.headline.partition(": ")[2][:_SAME]
    return bool(said) and said in step.summary


def _last_error(numbered: list[tuple[int, Step]], conversation: str) -> tuple[int | None, str]:
    """Find what a conversation complained of last, and its words."""
    for number, step in reversed(numbered):
        if step.kind == "error" and step.conversation in ("", conversation):
            words = step.summary.partition(". ")[0].rstrip(".:")[:_LONGEST]
            return number, f": {words}" if words else ""
    return None, ""


def _call(step: Step) -> str:
    return f"{step.title}: {step.summary[:_LONGEST]}"


def _outcome(step: Step) -> str:
    """Say how a command or a call ended: its exit code, and the last thing it said."""
    code = _exit_code(step)
    said = [part.text for part in step.parts if part.label in ("result", "error", "errors")]
    lines = [line.strip() for text in said for line in text[-4000:].splitlines() if line.strip()]
    ended = f" (exit code {code})" if code else ""
    return f"{ended}: {lines[-1][:_LONGEST]}" if lines else f"{ended}."


def _exit_code(step: Step) -> str:
    return next((value for name, value in step.facts if name == "exit code"), "")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
