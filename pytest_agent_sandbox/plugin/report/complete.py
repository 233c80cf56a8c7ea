"""The four steps from what was recorded of a test to its page: record, judge, tell, write."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_agent_sandbox.evidence import sections, verdict
from pytest_agent_sandbox.evidence.page.write import write_page
from pytest_agent_sandbox.evidence.story_builder import build_story

if TYPE_CHECKING:
    from pytest_agent_sandbox.evidence.recorder import Recorder
    from pytest_agent_sandbox.plugin.report.outcome import Phase


def complete(
    recorder: Recorder, phases: Mapping[str, Phase], *, keep: bool = True
) -> list[tuple[str, str]]:
    """Walk what was recorded of a test to its end: judge, tell, write.

    Args:
        recorder: The test's.
        phases: How its phases went, by their names. A test that was interrupted has none.
        keep: Whether the folder is going to be kept, and so gets its page.

    Returns:
        The sections of the failure report: pairs of a title and a text, for people.

    Raises:
        OSError: The disk is full, or the like; the verdict is there all the same.
    """
    judge(recorder, phases)
    recorder.end()
    try:
        story = build_story(recorder.folder, recorder.masked_result())
        recorder.result.hints = [hint.text for hint in story.hints]
    finally:  # a story that cannot be told has a verdict too
        recorder.save()
    if not keep:
        return sections.of(story, None)
    try:
        write_page(recorder.folder, story)
    except OSError as error:  # what it would have shown is told all the same
        return [
            *sections.of(story, None),
            ("agent evidence", f"its page could not be written: {error}\n"),
        ]
    return sections.of(story, recorder.folder)


def judge(recorder: Recorder, phases: Mapping[str, Phase]) -> None:
    """Judge a test by its phases so far; without any, what is known stays."""
    if phases:
        recorder.record_phases(phases)
        found = recorder.result
        judgement = verdict.judge(found.phases, recorder.unanswered)
        found.verdict, found.fault, found.headline = judgement


def complete_interrupted(recorder: Recorder) -> None:
    """Complete the folder of a test that never came to its end; do nothing where it did."""
    if not recorder.ended:
        with suppress(OSError):
            complete(recorder, {})
