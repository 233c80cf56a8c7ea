"""Table of the results of a run of pytest: a line for each test that has ended, and its page."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from pytest_agent_sandbox.evidence import records, result
from pytest_agent_sandbox.evidence.folders import GROUPS, INDEX, PAGE, RESULT, ROWS, SIGN
from pytest_agent_sandbox.evidence.page.render import render_run
from pytest_agent_sandbox.evidence.page.write import write_page
from pytest_agent_sandbox.evidence.result import Result
from pytest_agent_sandbox.evidence.story import Group, Row, RunStory
from pytest_agent_sandbox.evidence.story_builder import read_story
from pytest_agent_sandbox.evidence.whole_file import write_whole


def add(output: Path, found: Result, folder: Path | None) -> None:
    """Add the result of a test that has ended.

    Args:
        output: The run's output folder.
        found: The result.
        folder: Where its evidence was kept, if it was.

    Raises:
        OSError: The disk is full, or the like.
    """
    row = found.row(f"{folder.name}/{PAGE}" if folder else "")
    line = json.dumps(asdict(row))
    with (
        FileLock(output / f"{SIGN}.lock"),
        (output / ROWS).open("a", encoding="utf-8") as file,
    ):
        file.write(line + "\n")


def add_groups(output: Path, found: Iterable[Group]) -> None:
    """Add the verdicts on tests that were tried several times.

    Args:
        output: The run's output folder.
        found: The verdicts.

    Raises:
        OSError: The disk is full, or the like.
    """
    with (output / GROUPS).open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(group)) + "\n" for group in found)


def groups(output: Path) -> list[Group]:
    """Read the verdicts on tests that were tried several times."""
    return [result.of(Group, record) for record in records.read(output / GROUPS)]


def rows(output: Path) -> list[Row]:
    """Read what became of each test so far, those that did not come to their end included."""
    known = [result.of(Row, record) for record in records.read(output / ROWS)]
    told = {row.page.partition("/")[0] for row in known}
    unfinished = [
        result.read(folder).row(f"{folder.name}/{PAGE}")
        for folder in _test_folders(output)
        if folder.name not in told
    ]
    found = sorted([*known, *unfinished], key=lambda row: row.started)
    last = {row.test: row.attempt for row in found}
    passed = {group.test for group in groups(output) if group.verdict == "passed"}
    for row in found:
        row.superseded = row.attempt < last[row.test]
        row.tolerated = row.group in passed and row.fault not in ("sandbox", "budget")
    return found


def _test_folders(output: Path) -> list[Path]:
    return [path for path in sorted(output.iterdir()) if (path / RESULT).is_file()]


def write_index(output: Path, title: str) -> list[Row]:
    """Write the run's page, and those of tests that did not come to their end.

    Args:
        output: The run's output folder.
        title: What the run is called: its project's name.

    Returns:
        What the page shows.

    Raises:
        OSError: The disk is full, or the like.
    """
    found = rows(output)
    for folder in _test_folders(output):
        if not (folder / PAGE).exists():
            with suppress(Exception):  # one that cannot be told must not hide the others
                write_page(folder, read_story(folder))
    ends = [row.started + row.duration for row in found if row.duration is not None]
    started = min((row.started for row in found), default=0.0)
    story = RunStory(
        title=title,
        started=started,
        duration=max(ends) - started if ends else None,
        rows=found,
        groups=groups(output),
    )
    text = render_run(story)
    write_whole(output / INDEX, text)
    return found
