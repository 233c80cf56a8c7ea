"""The progress of pulls and builds while they run, and how it is shown.

A terminal gets a bar; anything else, such as the log of a CI job, gets a line now and then, and
none at all for work that is over quickly.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

Unit = Literal["bytes", "steps"]

#: Characters of a build's output line that are shown.
_LINE_LENGTH = 80


class Progress(Protocol):
    """A place that long work reports to; every method is cheap and may be called very often."""

    def update(self, activity: str, done: int = 0, total: int = 0, unit: Unit = "bytes") -> None:
        """Say what is going on and how far it is; `total` 0 where that is not known."""

    def output(self, line: str) -> None:
        """Hand on one line that a build printed."""

    def note(self, text: str) -> None:
        """Say something that is to be seen in any case, such as a warning."""


class Silence:
    """Progress that nobody watches."""

    def update(self, activity: str, done: int = 0, total: int = 0, unit: Unit = "bytes") -> None:
        """Do nothing."""

    def output(self, line: str) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""


class ProgressLines:
    """A line now and then, for logs.

    Args:
        stream: Where the lines go.
        first: Seconds before the first line, so that quick work stays silent.
        every: Seconds between lines after that.
        clock: Seconds from any origin; replaced in tests.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        first: float = 2.0,
        every: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._every = every
        self._clock = clock
        self._started = clock()
        self._due = self._started + first
        self._activity = ""

    def update(self, activity: str, done: int = 0, total: int = 0, unit: Unit = "bytes") -> None:
        """Write a line where one is due."""
        amount = _amount(done, total, unit)
        self._activity = f"{activity}, {amount}" if amount else activity
        self._report()

    def output(self, line: str) -> None:
        """Take a line for a sign of life: write one of ours where it is due."""
        self._report(line[:_LINE_LENGTH])

    def note(self, text: str) -> None:
        """Write at once."""
        self._write(text)

    def __enter__(self) -> Self:
        """Return itself; the clock runs from the object's making."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the stream open: it belongs to the caller."""

    def _report(self, detail: str = "") -> None:
        now = self._clock()
        if now >= self._due:
            self._due = now + self._every
            self._write(": ".join(part for part in (self._activity, detail) if part))

    def _write(self, text: str) -> None:
        seconds = self._clock() - self._started
        self._stream.write(f"agent-sandbox: {text} ({seconds:.0f} s)\n")
        self._stream.flush()


class ProgressBar:
    """A bar on a terminal; gone when the work is over."""

    def __init__(self, stream: TextIO) -> None:
        self._rich = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[amount]}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[line]}[/dim]"),
            console=Console(file=stream),
            transient=True,
        )
        self._task = self._rich.add_task("", total=None, visible=False, amount="", line="")

    def __enter__(self) -> Self:
        """Start drawing."""
        self._rich.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the bar."""
        self._rich.stop()

    def update(self, activity: str, done: int = 0, total: int = 0, unit: Unit = "bytes") -> None:
        """Move the bar."""
        self._rich.update(
            self._task,
            description=_plain(activity),
            completed=done,
            total=total or None,
            visible=True,
            amount=_amount(done, total, unit),
        )

    def output(self, line: str) -> None:
        """Show the line beside the bar."""
        self._rich.update(self._task, line=_plain(line[:_LINE_LENGTH]))

    def note(self, text: str) -> None:
        """Print above the bar."""
        self._rich.console.print(f"agent-sandbox: {_plain(text)}", highlight=False)


def show_progress(stream: TextIO) -> ProgressBar | ProgressLines:
    """Return progress in the form that suits the stream, as a context manager."""
    return ProgressBar(stream) if stream.isatty() else ProgressLines(stream)


def megabytes(size: int) -> str:
    """Return a size in bytes the way a person reads it, such as `34 MB` or `1.09 GB`."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"  # noqa: PLR2004


def _amount(done: int, total: int, unit: Unit) -> str:
    if not total:
        return ""
    if unit == "steps":
        return f"step {done} of {total}"
    return f"{megabytes(done)} of {megabytes(total)}"


def _plain(text: str) -> str:
    # Square brackets are markup to rich, and common in what builds print.
    return text.replace("[", "\\[")
