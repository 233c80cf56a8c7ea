"""Summary of a run on GitHub Actions, and a note at each failed test."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pytest_agent_sandbox.evidence import sections
from pytest_agent_sandbox.evidence.readable import dollars
from pytest_agent_sandbox.evidence.story import Row

#: GitHub takes no larger summary of a step, in bytes (1 MiB); rows beyond are left out.
_SUMMARY_LIMIT = 900_000
#: GitHub shows no more annotations of one step.
_MOST_ANNOTATIONS = 10
#: What Markdown would take for its own; the rest of a text is harmless.
_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>()#+!|~&@$.:-]")
_UNFINISHED = "The test did not come to its end."
_SIGNS = {"failed": "❌", "passed": "✅", "skipped": "⏭", "running": "❔"}


def write_step_summary(rows: Sequence[Row], environment: Mapping[str, str] = os.environ) -> None:
    """Add a table of the tests to the summary of the step, where this is GitHub Actions.

    Args:
        rows: The results of the run.
        environment: Names the file in `GITHUB_STEP_SUMMARY`.

    Raises:
        OSError: The file cannot be written.
    """
    file = environment.get("GITHUB_STEP_SUMMARY")
    if file:
        with Path(file).open("a", encoding="utf-8", errors="replace") as summary:
            # A step may have run pytest before.
            summary.write(step_summary(rows, room=_SUMMARY_LIMIT - summary.tell()))


def step_summary(rows: Sequence[Row], room: int = _SUMMARY_LIMIT) -> str:
    """Return the table, in Markdown: failed tests first, as many as there is room for, in bytes."""
    failed = sum(row.has_failed for row in rows)
    unfinished = sum(row.verdict == "running" for row in rows)
    noun = "test" if len(rows) == 1 else "tests"
    # "Passed" would be said of skipped ones too.
    told = (
        f"{failed} of {len(rows)} {noun} failed" if failed else f"{len(rows)} {noun}, none failed"
    )
    if unfinished:
        told += f", {unfinished} did not come to {'its' if unfinished == 1 else 'their'} end"
    lines = [
        "",
        f"### Agent sandbox: {told}",
        "",
        "| | test | what happened | fault | seconds | LLM calls | tokens | cost |",
        "|---|---|---|---|--:|--:|--:|--:|",
    ]
    size = sum(len(line) for line in lines)
    ordered = sorted(rows, key=lambda row: (not row.has_failed, row.verdict != "running"))
    for position, row in enumerate(ordered):
        line = _table_line(row)
        size += len(line.encode(errors="replace")) + 1
        if size > room:
            lines += ["", f"… and {len(rows) - position} more tests"]
            break
        lines.append(line)
    return "\n".join([*lines, "", ""])


def workflow_commands(
    rows: Iterable[Row], root: Path, environment: Mapping[str, str] = os.environ
) -> Iterator[str]:
    """Yield commands that mark failed tests in their files; none outside of GitHub Actions.

    A test that never came to its end, for its process has died, is one of them.

    Args:
        rows: The results of the run.
        root: pytest's root folder, which the tests' ids start from.
        environment: Has `GITHUB_ACTIONS`, and `GITHUB_WORKSPACE` for the repository's folder.
    """
    if environment.get("GITHUB_ACTIONS") != "true":
        return
    failed = sorted(
        (row for row in rows if row.has_failed or row.verdict == "running"),
        key=lambda row: not row.has_failed,
    )
    for row in failed[:_MOST_ANNOTATIONS]:
        file = _in_repository(root / row.test.partition("::")[0], environment)
        place = f"file={_property(file)},line={row.line},title={_property(row.test)}"
        fault = f" (fault: {row.fault})" if row.fault else ""
        what = row.headline if row.verdict == "failed" else _UNFINISHED
        yield f"::error {place}::{_message(what + fault)}"


def _table_line(row: Row) -> str:
    cost = "?" if row.cost is None else dollars(row.cost)
    again = f" (attempt {row.attempt})" if row.attempt > 1 else ""
    cells = [
        _SIGNS.get(row.verdict, ""),
        _escaped(row.test) + again,
        _escaped(_UNFINISHED if row.verdict == "running" else row.headline),
        row.fault,
        "" if row.duration is None else f"{row.duration:.1f}",
        str(row.llm_calls),
        f"{row.tokens:,}",
        cost,
    ]
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Return a text, from an agent perhaps, as Markdown that shows it and does nothing else."""
    line = sections.printable(" ".join(text.split()))
    return _MARKDOWN.sub(lambda found: f"&#{ord(found[0])};", line)


def _in_repository(file: Path, environment: Mapping[str, str]) -> str:
    repository = environment.get("GITHUB_WORKSPACE")
    if repository and file.is_relative_to(repository):
        file = file.relative_to(repository)
    return file.as_posix()


def _message(text: str) -> str:
    """Spell a text as workflow commands do; what is no line break stays."""
    return sections.printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
