"""What a user sees while something takes its time."""

from __future__ import annotations

import io

from pytest_agent_sandbox.containers.progress import ProgressLines, megabytes, show_progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_quick_work_is_silent() -> None:
    log, clock = io.StringIO(), Clock()
    with ProgressLines(log, clock=clock) as progress:
        for _ in range(19):
            progress.update("pulling x", 1, 10)
            clock.now += 0.1
    assert log.getvalue() == ""


def test_a_line_after_two_seconds_then_every_ten() -> None:
    log, clock = io.StringIO(), Clock()
    with ProgressLines(log, clock=clock) as progress:
        for second in range(35):
            progress.update("pulling x", second * 1_000_000, 400_000_000)
            clock.now += 1
    assert log.getvalue().splitlines() == [
        "agent-sandbox: pulling x, 2 MB of 400 MB (2 s)",
        "agent-sandbox: pulling x, 12 MB of 400 MB (12 s)",
        "agent-sandbox: pulling x, 22 MB of 400 MB (22 s)",
        "agent-sandbox: pulling x, 32 MB of 400 MB (32 s)",
    ]


def test_build_output_is_shown_beside_the_step() -> None:
    log, clock = io.StringIO(), Clock()
    with ProgressLines(log, clock=clock) as progress:
        progress.update("building x", 3, 12, "steps")
        clock.now += 4
        progress.output("Collecting y " + "z" * 200)
    (line,) = log.getvalue().splitlines()
    assert line.startswith("agent-sandbox: building x, step 3 of 12: Collecting y zzz")
    assert len(line) < 140


def test_a_note_is_always_shown() -> None:
    log = io.StringIO()
    with ProgressLines(log, clock=Clock()) as progress:
        progress.note("waiting for another process")
    assert log.getvalue() == "agent-sandbox: waiting for another process (0 s)\n"


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    with show_progress(terminal) as progress:
        progress.update("pulling [x]", 5_000_000, 10_000_000)
        progress.output("[91mnot markup[/]")
        progress.note("seen [in any case]")
    assert "pulling [x]" in terminal.getvalue()
    assert "5 MB of 10 MB" in terminal.getvalue()
    assert "seen [in any case]" in terminal.getvalue()
    assert not isinstance(show_progress(io.StringIO()), type(show_progress(terminal)))


def test_sizes() -> None:
    assert [megabytes(size) for size in (0, 34_400_000, 1_090_000_000)] == [
        "0 MB",
        "34 MB",
        "1.09 GB",
    ]
