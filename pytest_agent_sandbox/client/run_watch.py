"""The end of a run, which the server tells once, in an event that can be missed."""

from __future__ import annotations

import threading

from pytest_agent_sandbox.client.conversation_state import ExecutionStatus
from pytest_agent_sandbox.client.events import ConversationStateUpdateEvent, Event, PauseEvent

#: Statuses that no hook of the server takes back.
FAILURES = (ExecutionStatus.ERROR, ExecutionStatus.STUCK)

#: Polls that must agree before their status counts.
_AGREEING_POLLS = 2
#: Seconds that polls must agree while the event stream may still tell the end, or where the run was
#: never seen to run.
_LONG_AGREEMENT = 30.0
#: Seconds after which to look whether a run that was asked for is there at all.
_LONG_IDLE = 20.0


class RunWatch:
    """A watch for the end of one run. To be made before the run is asked for.

    - The state that the server publishes when a run is over (`full_state`) is authoritative, once
      the run has been seen to run. (What was published for an earlier run, or for a pause, can
      still be on its way.)
    - An error is final as soon as it is told.
    - A pause is followed by a whole state of its own, beside that of the run's end.
    - Polls count when that event can have been missed: two in a row that agree, or a long agreement
      where it may yet come. They read a saved copy of the state, so that by themselves they prove
      nothing about a run that was not seen to start.

    Args:
        will_run: False when the server will find nothing to do, so that it publishes the end of a
            run that never shows as running.
    """

    def __init__(self, *, will_run: bool) -> None:
        self._changed = threading.Condition()
        self._seen = not will_run
        self._pauses = 0
        self._snapshot = False
        self._failure: str | None = None
        self._end: str | None = None
        self._polled: str | None = None
        self._polls = 0
        self._polled_since = 0.0

    @property
    def end(self) -> str | None:
        """The status the run ended with; None while it has not."""
        with self._changed:
            return self._end

    @property
    def failure(self) -> str | None:
        """`error` or `stuck` from the moment the server told it, the run perhaps still closing."""
        with self._changed:
            return self._failure

    def saw_running(self) -> None:
        """Take note that the run has begun."""
        with self._changed:
            self._seen = True

    def observe(self, event: Event, opening: bool) -> None:
        """Take an event of the stream into account.

        Args:
            event: The event, in the order of the stream.
            opening: Whether it tells the state at the time of a new connection: old news, perhaps.
        """
        with self._changed:
            if isinstance(event, PauseEvent):
                self._pauses += 1
            elif isinstance(event, ConversationStateUpdateEvent) and not opening:
                if event.is_full and isinstance(event.value, dict):
                    self._observe_state(str(event.value.get("execution_status")))
                elif event.key == "execution_status":
                    self._observe_status(str(event.value))
            self._changed.notify_all()

    def poll(self, status: str, now: float, *, missed: bool) -> bool:
        """Take into account what the server answered when asked; tell whether that is the end.

        It is not where the event stream has told the end in the meantime: the answer may be older.

        Args:
            status: The conversation's status.
            now: A monotonic clock, in seconds.
            missed: Whether the event stream was interrupted since this watch was made.
        """
        with self._changed:
            if status == ExecutionStatus.RUNNING:
                self._seen = True
            if status != self._polled:
                self._polled, self._polls, self._polled_since = status, 0, now
            self._polls += 1
            if self._end is not None:
                return False
            if status == ExecutionStatus.RUNNING or self._polls < _AGREEING_POLLS:
                return False
            agreed = now - self._polled_since >= _LONG_AGREEMENT
            if (self._seen and (missed or agreed)) or (agreed and (missed or self._snapshot)):
                self._finish(status)
            return self._end is not None

    def never_began(self, now: float) -> bool:
        """Tell whether the server has long said that there is no run, and nothing else.

        It says so of a run that prepares, such as one whose agent is downloaded first, and of one
        that failed before it could write anything down, as on a full disk.

        Args:
            now: A monotonic clock, in seconds.
        """
        with self._changed:
            is_idle = self._polled == ExecutionStatus.IDLE and not (self._seen or self._snapshot)
            return is_idle and now - self._polled_since >= _LONG_IDLE

    def wait_anew(self, now: float) -> None:
        """Let the time of `never_began`, and of polls that agree, begin again.

        Args:
            now: A monotonic clock, in seconds.
        """
        with self._changed:
            self._polls, self._polled_since = 0, now

    def wait(self, timeout: float) -> bool:
        """Wait for the end, or for word that the run failed; return whether there is either.

        Args:
            timeout: Seconds.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self._end or self._failure, timeout) is not None

    def wait_for_end(self, timeout: float) -> None:
        """Wait for the end alone.

        Args:
            timeout: Seconds.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._end is not None, timeout)

    def _observe_status(self, status: str) -> None:
        if status == ExecutionStatus.RUNNING:
            self._seen = True
        elif status in FAILURES:
            self._failure = status
        # Any other is a hint at best: a stop hook may send a finished agent back to work.

    def _observe_state(self, status: str) -> None:
        if self._pauses:
            self._pauses -= 1
        elif status == ExecutionStatus.RUNNING:
            self._seen = True
        elif self._seen:
            self._finish(status)
        else:
            self._snapshot = True

    def _finish(self, status: str) -> None:
        if self._end is None:
            self._end = status
        if status in FAILURES:
            self._failure = status
        self._changed.notify_all()
