"""Fitting of a story to a page: how much text one takes, and what it leaves out."""

from __future__ import annotations

from typing import TypeVar

from pytest_agent_sandbox.evidence import limits, records
from pytest_agent_sandbox.evidence.story import Hint, TestStory

_Thing = TypeVar("_Thing")


def fit(story: TestStory) -> TestStory:
    """Shorten a story to what a page takes, and have it say what it leaves out."""
    room = _Room(limits.PAGE_TEXTS)
    # What matters most has the first claim on the room: how it ended.
    for failure in story.failures:
        failure.text, _ = room.shorten(failure.text)
    for change in story.changes:
        change.diff, change.cut = room.shorten(change.diff)
    story.changes_note, _ = room.shorten(story.changes_note)
    before = len(story.steps)
    story.steps = _last(story, story.steps, "steps", records.EVENTS)
    _renumber(story.hints, before - len(story.steps))
    story.log = _last(story, story.log, "lines of the log", "container.log")
    for step in reversed(story.steps):
        for part in step.parts:
            part.text, part.cut = room.shorten(part.text)
    for line in reversed(story.log):
        line.text, _ = room.shorten(line.text)
    if room.shortened:
        story.cuts.append(
            f"{room.shortened} long texts are shortened on this page; the raw files hold more."
        )
    return story


def _renumber(found: list[Hint], dropped: int) -> None:
    """Have hints lead to their steps where the first steps were dropped."""
    for hint in found:
        if hint.step is not None:
            hint.step = hint.step - dropped if hint.step > dropped else None


def _last(story: TestStory, things: list[_Thing], name: str, file: str) -> list[_Thing]:
    cut = len(things) - limits.PAGE_THINGS
    if cut <= 0:
        return things
    story.cuts.append(f"{cut:,} earlier {name} are not on this page, but in {file}.")
    return things[cut:]


class _Room:
    """Room that a page still has for text."""

    def __init__(self, size: int) -> None:
        self._left = size
        self.shortened = 0

    def shorten(self, text: str) -> tuple[str, int]:
        limit = limits.PAGE_TEXT if self._left > limits.PAGE_TEXT else limits.PAGE_REST
        shown, cut = limits.shorten(text, limit)
        self._left -= len(shown)
        self.shortened += cut > 0
        return shown, cut
