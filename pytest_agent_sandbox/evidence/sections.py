"""Sections of a failure report: a test's story as a person reads it in ten seconds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pytest_agent_sandbox.evidence import log_lines
from pytest_agent_sandbox.evidence.folders import DIFF, PAGE
from pytest_agent_sandbox.evidence.steps import NO_RESULT
from pytest_agent_sandbox.evidence.story import WHOSE, LogLine, Part, Step, TestStory

#: Columns of a text; what is longer is in the files.
_WIDTH = 100
#: The last steps are shown in full: that many lines of each text.
_FULL_STEPS = 4
_FULL_LINES = 12
#: Earlier ones are a line each.
_SHORT_STEPS = 20
_LOG_LINES = 15
_TROUBLE_LINES = 5
_DIFF_LINES = 40
_MOST_PICTURES = 5
_MARGIN = " " * 20
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
#: GitHub's runner obeys such lines, whoever has printed them.
_WORKFLOW_COMMAND = re.compile(r"^(\s*):(?=:)|##(?=\[)", re.MULTILINE)
#: The labels of texts that somebody said.
_SAID = ("thought", "text")
#: What is told of a story beside messages and tool calls.
_TOLD = ("message", "tool", "test", "error", "state")


def of(story: TestStory, folder: Path | None) -> list[tuple[str, str]]:
    """Return the sections of a failure report: pairs of a title and a text.

    Args:
        story: The test's.
        folder: Where its evidence is; None where it is not kept.
    """
    sections = [
        ("agent transcript", transcript(story)),
        ("container log", _log(story, _of_sandboxes(story), "container.log")),
        ("service log", _service_log(story)),
        ("workspace changes", _changes(story)),
        ("agent evidence", _evidence(story, folder)),
    ]
    return [(title, printable(f"{text.rstrip()}\n")) for title, text in sections if text.strip()]


def transcript(story: TestStory) -> str:
    """Say when who did what: the last steps in full, earlier ones a line each."""
    steps = [
        step for step in story.steps if step.kind in _TOLD or (step.kind == "llm" and step.is_error)
    ]
    several = len({step.conversation for step in steps if step.conversation}) > 1
    full = _last(steps)
    early = steps[: len(steps) - len(full)]
    hidden = len(early) - _SHORT_STEPS
    lines = [f"{_MARGIN}… {hidden} earlier steps are in {PAGE}"] if hidden > 0 else []
    lines += [_line(step, several) for step in early[-_SHORT_STEPS:]]
    for step in full:
        # Where it did not fit the agent, the failure says all that its refusal says.
        is_told = story.fault == "script" and step.kind in ("llm", "error")
        lines += [_line(step, several)] if is_told else in_full(step, several)
    return "\n".join(lines)


def in_full(step: Step, several: bool = False) -> Iterator[str]:
    """Yield the lines of a step with all its texts, each shortened to what fits on a screen."""
    said = [part.text for part in step.parts if part.label in _SAID]
    if said or step.kind in ("message", "state"):
        first, *rest = _shortened("\n".join(said) or step.summary)
        yield f"{_head(step, several)}{first}"
        yield from (f"{_MARGIN}{line}" for line in rest)
    if step.kind in ("message", "state"):
        yield from _pictures(step)
        return
    yield f"{_MARGIN}{_what(step)}" if said else _line(step, several)
    for part in step.parts:
        if part.label not in _SAID and part.text.strip() not in ("", step.summary):
            yield from _part(part)
    yield from _pictures(step)


def outcome(step: Step) -> Iterator[str]:
    """Yield the lines of a tool call's result by itself."""
    texts = [part.text for part in step.parts]
    first, *rest = _shortened("\n".join(texts) or "(no output)")
    codes = [code for name, code in step.facts if name == "exit code" and code != "0"]
    note = f"  [exit {codes[0]}]" if codes else ""
    name = "error" if step.is_error else "result"
    yield f"{_clock(step)}  {name:<7}  {first}{note}"
    yield from (f"{_MARGIN}{line}" for line in rest)
    yield from _pictures(step)


def printable(text: str) -> str:
    """Take control characters out of a text: what a sandbox prints must not steer a terminal."""
    text = _COLOURS.sub("", text.replace("\r\n", "\n"))
    plain = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
    return _WORKFLOW_COMMAND.sub(lambda found: f"{found[0]}\N{ZERO WIDTH SPACE}", plain)


def _last(steps: list[Step]) -> list[Step]:
    """Return the last steps; a change of the status counts for none."""
    count = 0
    for position in range(len(steps) - 1, -1, -1):
        count += steps[position].kind != "state"
        if count == _FULL_STEPS:
            return steps[position:]
    return steps


def _line(step: Step, several: bool) -> str:
    return f"{_head(step, several)}{_what(step)}"


def _what(step: Step) -> str:
    """Say what was done, on one line; for a tool call that failed, how."""
    who = f"{step.title}  " if step.kind in ("tool", "llm") else ""
    text = f"{who}{step.summary}"
    codes = [f"exit {code}" for name, code in step.facts if name == "exit code" and code != "0"]
    if NO_RESULT in step.facts:
        codes = ["no result"]
    notes = [*codes, *(["failed"] if step.is_error and not codes and step.kind == "tool" else [])]
    note = f"  [{', '.join(notes)}]" if notes else ""
    return f"{_cut(text)}{note}"


def _head(step: Step, several: bool) -> str:
    who = {"message": step.title, "tool": "agent", "state": "status", "llm": "llm"}
    name = who.get(step.kind, step.kind)
    if several and step.conversation:
        name = f"{step.conversation} {name}"
    return f"{_clock(step)}  {name:<7}  "


def _clock(step: Step | LogLine) -> str:
    return " " * 9 if step.time is None else f"{step.time:8.2f}s"


def _part(part: Part) -> Iterator[str]:
    first, *rest = _shortened(part.text)
    if not rest:
        yield f"{_MARGIN}{part.label}: {first}"
        return
    yield f"{_MARGIN}{part.label}:"
    yield from (f"{_MARGIN}  {line}" for line in (first, *rest))


def _pictures(step: Step) -> Iterator[str]:
    shown = step.pictures[:_MOST_PICTURES]
    yield from (f"{_MARGIN}picture: {name}" for name in shown)
    if len(step.pictures) > len(shown):
        yield f"{_MARGIN}… {len(step.pictures) - len(shown)} more pictures"


def _shortened(text: str) -> list[str]:
    lines = [_cut(line) for line in text.strip("\n").splitlines()] or [""]
    if len(lines) > _FULL_LINES:
        end = _FULL_LINES // 2
        lines[end:-end] = [f"… {len(lines) - 2 * end} more lines"]
    return lines


def _cut(line: str) -> str:
    return line if len(line) <= _WIDTH else f"{line[:_WIDTH]}… ({len(line):,} characters)"


def _of_sandboxes(story: TestStory) -> list[LogLine]:
    return [line for line in story.log if line.container not in story.services]


def _service_log(story: TestStory) -> str:
    logs = []
    for name in story.services:
        lines = [line for line in story.log if line.container == name]
        text = _log(story, lines, f"service-{name}.log")
        if text:
            logs.append(f"{_MARGIN}{name}:\n{text}")
    return "\n".join(logs)


def _log(story: TestStory, log: list[LogLine], file: str) -> str:
    """Return a log's end where the sandbox is to blame, else only what it complains of."""
    if story.fault == "sandbox" or story.verdict == "running":
        lines, most = log, _LOG_LINES
    else:
        lines, most = [line for line in log if log_lines.is_trouble(line)], _TROUBLE_LINES
    if log and not lines:
        return f"{_MARGIN}… {len(log)} lines, no warning among them, are in {file}"
    shown = [_log_line(line) for line in lines[-most:]]
    hidden = len(log) - len(shown)
    if hidden > 0:
        shown.insert(0, f"{_MARGIN}… {hidden} other lines are in {file}")
    return "\n".join(shown)


def _log_line(line: LogLine) -> str:
    first, *rest = _shortened(line.text)
    head = f"{_clock(line)}  {line.level.lower():<7}  {first}"
    return "\n".join([head, *(f"{_MARGIN}{text}" for text in rest)])


def _changes(story: TestStory) -> str:
    lines = [
        f"{change.status:<9} {change.path}  +{change.added} -{change.removed}"
        for change in story.changes
    ]
    diff = [line for change in story.changes for line in change.diff.splitlines()]
    shown = [_cut(line) for line in diff[:_DIFF_LINES]]
    if len(diff) > len(shown):
        shown.append(f"… {len(diff) - len(shown)} more lines are in {DIFF}")
    if len(lines) > _DIFF_LINES:
        lines[_DIFF_LINES:] = [f"… {len(lines) - _DIFF_LINES} more files"]
    note = _shortened(story.changes_note)
    return "\n".join([*note, *lines, "", *shown]).strip()


def _evidence(story: TestStory, folder: Path | None) -> str:
    whose = WHOSE.get(story.fault, story.fault)
    lines = [f"fault: {whose}"] if whose else []
    lines += [f"note:  {hint.text}" for hint in story.hints]
    lines.append(f"page:  {folder / PAGE if folder else 'not kept (sandbox_artifacts = none)'}")
    if folder:
        lines += [f"video: {folder / video.name}" for video in story.videos]
    if story.rerun:
        lines.append(f"again: {story.rerun}")
    return "\n".join(lines)
