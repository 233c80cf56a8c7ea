"""Brief of a conversation, in three lines: what was asked, what was said last, what was changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pytest_agent_sandbox.evidence.story import Change, Fact, Step

_MOST_FILES = 5


def brief(
    steps: Sequence[Step], changes: Sequence[Change], note: str, calls: Mapping[str, int]
) -> list[Fact]:
    """Return the lines, with their labels; none for a test without a conversation.

    Args:
        steps: The test's steps.
        changes: What changed on disk.
        note: Why that is not known.
        calls: How many LLM calls there were, by who answered them.
    """
    said = [step for step in steps if step.kind == "message"]
    if not said:
        return []
    return [*_talk(said), ("changed", _changed(changes, note)), *_source(calls)]


def _talk(said: list[Step]) -> Iterator[Fact]:
    asked = [step for step in said if step.title == "user"]
    answers = [step for step in said if step.title == "agent"]
    if asked:
        yield "asked" if len(asked) == 1 else "asked last", asked[-1].summary
    yield "agent said last", answers[-1].summary if answers else "(nothing)"


def _changed(changes: Sequence[Change], note: str) -> str:
    if not changes:
        return "not known: the workspace could not be read" if note else "nothing on disk"
    names = [f"{change.status or 'changed'} {change.path}" for change in changes[:_MOST_FILES]]
    more = len(changes) - len(names)
    return ", ".join([*names, *([f"… and {more} more files"] if more > 0 else [])])


def _source(calls: Mapping[str, int]) -> Iterator[Fact]:
    kinds = set(calls) - {"fault", "refused", "unanswered"}
    if kinds == {"scripted"}:
        yield "LLM", "scripted: what the agent says and does comes from the test"
    elif kinds == {"replayed"}:
        yield "LLM", "replayed from the cassette"
