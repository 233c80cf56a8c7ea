"""Writer of a test's page."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path

from pytest_agent_sandbox.evidence import limits
from pytest_agent_sandbox.evidence.folders import PAGE
from pytest_agent_sandbox.evidence.page.fit import fit
from pytest_agent_sandbox.evidence.page.render import render_test
from pytest_agent_sandbox.evidence.picture_kinds import picture_of
from pytest_agent_sandbox.evidence.story import StoryPicture, TestStory
from pytest_agent_sandbox.evidence.story_builder import list_files
from pytest_agent_sandbox.evidence.whole_file import write_whole


def write_page(folder: Path, story: TestStory) -> None:
    """Write a test's page, and fit the story to it: it gets pictures, and loses what is too long.

    Args:
        folder: The test's, with all its other files.
        story: The test's.

    Raises:
        OSError: The disk is full, or the like.
    """
    story.files = list_files(folder)
    fit(story)
    embed_pictures(story, folder)
    write_whole(folder / PAGE, render_test(story))


def embed_pictures(story: TestStory, folder: Path) -> None:
    """Put the pictures into the page itself, the last ones first, as far as there is room.

    The story says how many there was no room for; those are files beside the page.
    """
    known = {picture.name: picture for picture in story.pictures}
    names = [name for step in story.steps for name in step.pictures]
    shown = dict.fromkeys(reversed(names))
    room = limits.PAGE_PICTURES
    for name in shown:
        if known[name].size <= room:
            room -= known[name].size
            _read_picture(known[name], folder)
    beside = sum(not known[name].data for name in shown)
    if beside:
        story.cuts.append(
            f"In files beside this page only: {beside:,} of its {len(shown):,} pictures."
        )


def _read_picture(known: StoryPicture, folder: Path) -> None:
    with contextlib.suppress(OSError):
        picture = picture_of((folder / known.name).read_bytes())
        # A small file may need gigabytes to be drawn.
        if picture is None or picture.width * picture.height > limits.PAGE_PIXELS:
            return
        known.width, known.height = picture.width, picture.height
        encoded = base64.b64encode(picture.data).decode("ascii")
        known.data = f"data:{picture.media_type};base64,{encoded}"
