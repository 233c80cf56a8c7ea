"""Live view of a conversation on a terminal."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from pytest_agent_sandbox.client.events import ACPToolCallEvent, ObservationEvent, parse_event
from pytest_agent_sandbox.evidence import limits, pictures_in_json, sections, steps
from pytest_agent_sandbox.evidence.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from pytest_agent_sandbox.client.events import Event
    from pytest_agent_sandbox.evidence.picture_kinds import Picture
    from pytest_agent_sandbox.evidence.story import Step

_STYLES = {"message": "bold", "tool": "cyan", "error": "red", "state": "yellow"}
_ERROR, _RESULT, _USER = "red", "", "bold green"


class LiveView:
    """Callback that prints each event that is part of the story, as it comes.

    Args:
        console: Where to.
        prefix: What each line begins with: whose conversation it is, where there are several.
        mask: Masks the secrets in a text.
        started: When the test began, in seconds since 1970, as its report counts; by default times
            are those since the first event.
    """

    def __init__(
        self,
        console: Console,
        *,
        prefix: str = "",
        mask: Callable[[str], str] = str,
        started: float | None = None,
    ) -> None:
        self._console = console
        self._prefix = prefix
        self._mask = mask
        self._start: float | None = None
        self._clock = None if started is None else Clock(started)
        self._status = ""
        self._acp_calls: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Print one event."""
        shown: list[str] = []

        def keep(picture: Picture) -> str:
            shown.append(f"{picture.kind.upper()}, {picture.width}x{picture.height} pixels")
            return shown[-1]

        raw = pictures_in_json.replace(event.raw, keep)
        # Masked before anything is cut: half a secret is not found any more.
        step = steps.build_step(parse_event(limits.change_texts(raw, self._mask)))
        if step is None or step.kind == "other":
            return
        step.pictures = shown
        with self._lock:
            if step.kind == "state" and step.summary == self._status:
                return
            self._status = step.summary if step.kind == "state" else self._status
            step.time = self._seconds(event.timestamp)
            is_result = isinstance(event, ObservationEvent)
            if isinstance(event, ACPToolCallEvent):
                is_result = event.tool_call_id in self._acp_calls
                self._acp_calls.add(event.tool_call_id)
            if is_result:
                step.parts = [part for part in step.parts if part.label == steps.RESULT]
            self._print(step, is_result=is_result)

    def _seconds(self, written: str) -> float | None:
        if self._clock is not None:
            self._clock.learn(written, time.time())
            return self._clock.seconds(written)
        seconds = Clock(0.0).seconds(written)
        if seconds is None:
            return None
        self._start = seconds if self._start is None else self._start
        return max(seconds - self._start, 0.0)

    def _print(self, step: Step, *, is_result: bool) -> None:
        lines = sections.outcome(step) if is_result else sections.in_full(step)
        text = sections.printable("\n".join(lines))
        style = _ERROR if step.is_error else _STYLES.get(step.kind, "")
        if is_result and not step.is_error:
            style = _RESULT
        elif step.kind == "message" and step.title == "user":
            style = _USER
        for line in text.splitlines():
            self._console.print(f"{self._prefix}{line}", style=style)


def terminal() -> Console:
    """Return standard output for rich to print to: coloured where it is a terminal."""
    from rich.console import Console

    return Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
