"""Evidence: what keeping 5,000 events costs a test, and writing and opening its page.

The floor, in turn with it, is the same events as JSON lines: written one by one as they come, and
all at once in the end. With Chromium on the PATH the page is opened in it, too.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring import Report, read_arguments

from pytest_agent_sandbox.client.events import Event, parse_event
from pytest_agent_sandbox.evidence.recorder import Recorder
from pytest_agent_sandbox.host.redaction import Redactor
from pytest_agent_sandbox.plugin.report.complete import complete

if TYPE_CHECKING:
    from playwright.sync_api import Page

EVENTS = 5_000
_TEXT = "a line of what a tool has printed, eighty characters long, as terminals are wide\n" * 12
_BROWSERS = ("chromium", "google-chrome", "chromium-browser")
_FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
_SCROLL = """async () => {
    let longest = 0, last = performance.now();
    const height = document.documentElement.scrollHeight;
    for (let y = 0; y < height; y += Math.max(600, height / 200)) {
        scrollTo(0, y);
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        longest = Math.max(longest, now - last);
        last = now;
    }
    return longest / 1000;
}"""


@dataclass
class Phase:
    """A phase of a test, as the recorder is told of it."""

    outcome: str
    duration: float = 1.0
    error: str = "AssertionError: no"
    fault: str = "assertion"
    report: str = "E  AssertionError: no"


def events() -> list[dict[str, Any]]:
    """Tool calls and their results, 1 KB each."""
    began = datetime.now()
    return [_event(number, began + timedelta(milliseconds=number)) for number in range(EVENTS)]


def _event(number: int, time: datetime) -> dict[str, Any]:
    common = {"id": str(number), "timestamp": time.isoformat(), "tool_name": "terminal"}
    call = {"tool_call_id": f"call_{number // 2}"}
    if number % 2 == 0:
        action = {"kind": "TerminalAction", "command": f"echo {number}  # {_TEXT[:80]}"}
        return {**common, **call, "kind": "ActionEvent", "source": "agent", "action": action}
    observation = {
        "content": [{"type": "text", "text": f"{number}\n{_TEXT}"}],
        "is_error": False,
        "exit_code": 0,
    }
    return {
        **common,
        **call,
        "kind": "ObservationEvent",
        "source": "environment",
        "action_id": str(number - 1),
        "observation": observation,
    }


def measure(rounds: int) -> Report:
    report = Report("Evidence", events=f"{EVENTS} of about 1 KB", rounds=str(rounds))
    raw = events()
    parsed = [parse_event(event) for event in raw]
    with browser() as page, tempfile.TemporaryDirectory() as temporary:
        for number in range(rounds):
            output = Path(temporary, str(number))
            with report.timing("events as they come, floor"):
                _write_lines(output / "floor", raw)
            recorder = Recorder(output, "test_it.py::test_x", Redactor())
            with report.timing("events as they come, ours"):
                _record(recorder, parsed)
            with report.timing("at the end, floor"):
                (output / "floor" / "all.json").write_text(json.dumps(raw), encoding="utf-8")
            with report.timing("at the end, ours"):
                complete(recorder, {"call": Phase("failed")})
            if page is not None:
                _open(report, page, recorder.folder / "transcript.html")
    report.ratio(
        "events as they come, ours / floor",
        "events as they come, ours",
        "events as they come, floor",
    )
    report.ratio("at the end, ours / floor", "at the end, ours", "at the end, floor")
    report.value("memory while collecting (MB)", _memory(parsed) / 1e6)
    return report


def _write_lines(folder: Path, raw: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True)
    for event in raw:
        with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")


def _record(recorder: Recorder, parsed: list[Event]) -> None:
    for event in parsed:
        recorder.record_event("1", event)


def _memory(parsed: list[Event]) -> float:
    """Bytes that a recorder holds on to after all events."""
    with tempfile.TemporaryDirectory() as temporary:
        recorder = Recorder(Path(temporary), "test_it.py::test_x", Redactor())
        tracemalloc.start()
        _record(recorder, parsed)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return held


@contextmanager
def browser() -> Iterator[Page | None]:
    """A page of a Chromium, if this machine has one."""
    path = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        yield None
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        yield chromium.new_page(viewport={"width": 1280, "height": 800})
        chromium.close()


def _open(report: Report, page: Page, file: Path) -> None:
    page.goto("about:blank")
    began = time.perf_counter()
    page.goto(file.as_uri())
    page.wait_for_function("document.querySelectorAll('[id^=step-]').length > 0")
    page.evaluate("() => new Promise(requestAnimationFrame)")
    report.add("opening the page", time.perf_counter() - began)
    report.add("longest pause while scrolling", page.evaluate(_SCROLL))


def main() -> None:
    arguments = read_arguments(__doc__, rounds=5)
    measure(arguments.rounds).finish(arguments.json)


if __name__ == "__main__":
    main()
