"""Builder of a test's story, out of its result and the files in its folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_agent_sandbox.evidence import (
    command_steps,
    folders,
    llm_steps,
    log_lines,
    picture_files,
    records,
    result,
    verdict,
    workspace_changes,
)
from pytest_agent_sandbox.evidence.brief import brief
from pytest_agent_sandbox.evidence.clock import Clock
from pytest_agent_sandbox.evidence.folders import DIFF, INDEX, PAGE
from pytest_agent_sandbox.evidence.hints import hints
from pytest_agent_sandbox.evidence.readable import dollars, without_objects
from pytest_agent_sandbox.evidence.result import Result
from pytest_agent_sandbox.evidence.steps import StepBuilder
from pytest_agent_sandbox.evidence.story import (
    Fact,
    FailedPhase,
    LogLine,
    RawFile,
    Section,
    Step,
    TestStory,
)
from pytest_agent_sandbox.evidence.summary import summarize

#: As Recorder.new_video() names them.
_VIDEO = re.compile(r"desktop(?:-\d+)?\.mp4")
_DIGITS = re.compile(r"(\D*)(\d{0,9})")
#: Facts that stand in a section's title.
_IN_TITLES = ("container", "name", "number")

#: How the fields of a sandbox and of a conversation are called for people.
_LABELS = {
    "digest": "image digest",
    "server": "agent server",
    "exit_code": "exit code",
    "out_of_memory": "out of memory",
    "start_seconds": "started in",
    "timed_out": "timed out",
    "cost": "cost, as the server says",
}


def read_story(folder: Path) -> TestStory:
    """Build the story of a test whose folder is all there is, whether it came to its end or not."""
    return build_story(folder, result.read(folder))


def build_story(folder: Path, found: Result) -> TestStory:
    """Build the story of a test.

    Args:
        folder: The test's.
        found: What became of it, without secrets.
    """
    events = list(records.read(folder / records.EVENTS))
    received = list(_received(events))
    # Where the result cannot be read, the first event is when it began.
    started = found.started or min((here for _, here in received), default=0.0)
    clock = Clock(started, received)
    services = [str(facts.get("name", "")) for facts in found.services]
    log = [*_log(folder, found, clock), *_service_log(folder, services, clock)]
    steps = StepBuilder(clock, _end(found)).build(events)
    steps += llm_steps.build_steps(records.read(folder / records.LLM_CALLS), started)
    steps += command_steps.build_steps(records.read(folder / records.COMMANDS), started)
    steps += [_log_step(line) for line in log if log_lines.is_trouble(line)]
    steps = _in_order(steps)
    pictures = picture_files.find(folder, steps)
    failures = list(_failures(found))
    diff = _text(folder / DIFF)
    changed, note = workspace_changes.read(diff) if diff is not None else ([], "")
    return TestStory(
        test=found.test,
        attempt=found.attempt,
        verdict=found.verdict,
        fault=found.fault,
        summary=summarize(found, changed),
        headline=found.headline,
        code=verdict.failed_line(failures[0].text) if failures else "",
        hints=hints(found, steps, log),
        brief=brief(steps, changed, note, found.llm.calls),
        rerun=found.rerun,
        started=started,
        duration=found.duration,
        failures=failures,
        totals=list(_totals(found)),
        steps=steps,
        log=log,
        services=services,
        changes=changed,
        changes_note=note,
        environment=list(_environment(found)),
        pictures=pictures,
        videos=[file for file in list_files(folder) if _VIDEO.fullmatch(file.name) and file.size],
        masked=found.masked,
        cuts=list(found.cuts),
        index=f"../{INDEX}" if folders.is_ours(folder.absolute().parent) else "",
    )


def _received(events: list[dict[str, Any]]) -> Iterator[tuple[str, float]]:
    for record in events:
        event, received = record.get("event"), records.number(record.get("received"))
        if isinstance(event, dict) and received is not None:
            yield event.get("timestamp", ""), received


def _log(folder: Path, found: Result, clock: Clock) -> list[LogLine]:
    names = [str(facts.get("container", "")) for facts in found.sandboxes]
    owners = {facts.get("log"): str(facts.get("container", "")) for facts in found.sandboxes}
    logs = sorted(folder.glob("container*.log"), key=lambda path: (len(path.name), path.name))
    lines = []
    for position, path in enumerate(logs):
        name = owners.get(path.name) or (names[position] if position < len(names) else path.stem)
        lines += log_lines.read(path, clock, name if len(logs) > 1 else "")
    return lines


def _service_log(folder: Path, services: list[str], clock: Clock) -> Iterator[LogLine]:
    for name in services:
        yield from log_lines.read_stamped(folder / f"service-{name}.log", clock, name)


def _log_step(line: LogLine) -> Step:
    return Step(
        kind="log",
        title=line.level.lower(),
        summary=line.text.partition("\n")[0][:300],
        time=line.time,
        conversation=line.container,
        is_error=line.level != "WARNING",
    )


def _in_order(steps: list[Step]) -> list[Step]:
    """Sort steps by time; one without a time stays behind the step that it came after."""
    latest = 0.0
    keyed = []
    for step in steps:
        latest = latest if step.time is None else step.time
        keyed.append((latest, step))
    return [step for _, step in sorted(keyed, key=lambda pair: pair[0])]


def _end(found: Result) -> float | None:
    """Return when the test's own function was over, in seconds since the test began."""
    if "call" not in found.phases:
        return None
    durations = (found.phases.get(name, {}).get("duration") for name in ("setup", "call"))
    return sum(value for value in durations if isinstance(value, int | float))


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else None


def _failures(found: Result) -> Iterator[FailedPhase]:
    for name, phase in found.phases.items():
        if phase.get("outcome") == "failed":
            text = str(phase.get("report") or phase.get("error") or "")
            yield FailedPhase(phase=name, text=without_objects(text))


def _totals(found: Result) -> Iterator[Fact]:
    yield "agent steps", str(found.steps)
    calls = found.llm.calls
    kinds = next(iter(calls)) if len(calls) == 1 else ""
    yield "LLM calls", f"{sum(calls.values())} {kinds}".strip()
    yield "tokens", f"{found.llm.tokens:,}"
    if set(calls) - {"scripted", "fault", "refused", "unanswered"}:
        yield "cost", "unknown" if found.llm.cost is None else dollars(found.llm.cost)
    if found.llm.saved:
        yield "saved by replay", f"${found.llm.saved:.4f}"
    startup = found.row().startup
    if startup is not None:
        yield "start-up", f"{startup:.1f} s"


def _environment(found: Result) -> Iterator[Section]:
    for facts in found.sandboxes:
        yield Section(title=f"Sandbox {facts.get('container', '')}", facts=list(_facts(facts)))
    for facts in found.services:
        yield Section(title=f"Service {facts.get('name', '')}", facts=list(_facts(facts)))
    for facts in found.conversations:
        yield Section(title=f"Conversation {facts.get('number', '')}", facts=list(_facts(facts)))
    for facts in found.agent_runs:
        yield Section(title=f"Agent {facts.get('name', '')}", facts=list(_facts(facts)))
    phases = [
        (name, f"{phase.get('outcome')} in {records.number(phase.get('duration')) or 0.0:.2f} s")
        for name, phase in found.phases.items()
    ]
    if phases:
        yield Section(title="Phases of the test", facts=phases)


def _facts(facts: Mapping[str, Any]) -> Iterator[Fact]:
    for name, value in facts.items():
        if value is None or name in _IN_TITLES:
            continue
        yield _LABELS.get(name, name), _shown(name, value)


def _shown(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    number = records.number(value)
    if number is not None and name in ("duration", "start_seconds"):
        return f"{number:.2f} s"
    if number is not None and name == "cost":
        return dollars(number)
    return f"{value:,}" if isinstance(value, int) else str(value)


def list_files(folder: Path) -> list[RawFile]:
    """List the files beside a test's page, sorted as people count: 10 after 9."""
    return [
        RawFile(name=path.name, size=path.stat().st_size)
        for path in sorted(folder.iterdir(), key=_natural)
        if path.is_file() and path.name != PAGE and not path.name.startswith(".")
    ]


def _natural(path: Path) -> list[tuple[str, int]]:
    # The name with its numbers as numbers.
    return [(text, int(digits or 0)) for text, digits in _DIGITS.findall(path.stem)]
