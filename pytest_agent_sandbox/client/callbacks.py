"""Callbacks on a thread of their own, so that a slow one loses nothing and stalls nothing."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from pytest_agent_sandbox.client.events import Event
from pytest_agent_sandbox.host import seldom

logger = seldom.logger(__name__)

#: Called with each event, in order.
EventCallback = Callable[[Event], object]


class CallbackDispatcher:
    """A thread that calls every callback with every event, in order, one at a time.

    What a callback raises is logged and kept (`take_error`); the others still get the event, and it
    gets the next ones.

    Args:
        callbacks: What to call. Without any there is no thread.
        name: The thread's name.
    """

    def __init__(self, callbacks: Sequence[EventCallback], *, name: str) -> None:
        self._callbacks = tuple(callbacks)
        self._waiting: deque[Event] = deque()
        self._error: BaseException | None = None
        self._error_count = 0
        self._accepted = 0
        self._delivered = 0
        self._closed = False
        self._until = 0.0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        if self._callbacks:
            self._thread.start()

    def put(self, event: Event) -> None:
        """Hand over an event, and return at once."""
        if not self._callbacks:
            return
        with self._changed:
            self._accepted += 1
            self._waiting.append(event)
            self._changed.notify_all()

    def flush(self, patience: float) -> bool:
        """Wait until the callbacks had everything that was handed over before this call.

        Args:
            patience: Seconds to wait for a single event to be done with; there is no limit as long
                as they keep moving.

        Returns:
            False when a callback took longer than that, or when it is a callback that asks.
        """
        if threading.current_thread() is self._thread:
            return False
        with self._changed:
            target = self._accepted
            while self._delivered < target:
                if not self._await_progress(patience):
                    return False
        return True

    def take_error(self) -> BaseException | None:
        """Return the first error of the callbacks since the last call, with a note of the rest."""
        with self._changed:
            error, self._error = self._error, None
            count, self._error_count = self._error_count, 0
        if error is not None and count > 1:
            error.add_note(f"The callbacks raised {count - 1} more errors.")
        return error

    def close(self, patience: float) -> None:
        """Deliver what there is and end the thread; what takes too long is dropped.

        Args:
            patience: Seconds for both. A callback that takes longer keeps the thread until it
                returns.
        """
        with self._changed:
            self._closed = True
            self._until = time.monotonic() + patience
            self._changed.notify_all()
        if self._callbacks and threading.current_thread() is not self._thread:
            self._thread.join(patience)

    def _await_progress(self, patience: float) -> bool:
        before = self._delivered
        return self._changed.wait_for(lambda: self._delivered > before, patience)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed and (not self._waiting or time.monotonic() > self._until):
                    return
                event = self._waiting.popleft()
            for callback in self._callbacks:
                self._call(callback, event)
            with self._changed:
                self._delivered += 1
                self._changed.notify_all()

    def _call(self, callback: EventCallback, event: Event) -> None:
        try:
            callback(event)
        except BaseException as error:  # pytest.fail() is no Exception
            logger.warning("A callback failed on %r", event, exc_info=True)
            with self._changed:
                self._error = self._error or error
                self._error_count += 1
