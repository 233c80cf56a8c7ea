"""The time that a caller has for all that a call does."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator

# Seconds that are left at least, for a call to find out that its time is over.
_MOMENT = 0.001


class CallerTime(threading.local):
    """Until when this thread's caller waits, and when its requests are over.

    Attributes:
        deadline: When to ask why there is no answer, by the monotonic clock.
        end: When requests are over, whatever the server sends by then.
    """

    deadline = math.inf
    end = math.inf

    @contextlib.contextmanager
    def due(self, deadline: float, *, end: float = math.inf, anew: bool = False) -> Iterator[None]:
        """Have the requests of this thread ask why, where there is no answer past a deadline.

        They raise what `explain_silence` does then, and are not tried again.

        Args:
            deadline: By the monotonic clock.
            end: When they are over, whatever the server sends by then.
            anew: Let them have until that end, whatever the caller has: to clean up.
        """
        before = self.deadline, self.end
        self.deadline = min(deadline, self.deadline)
        self.end = end if anew else min(end, self.end)
        try:
            yield
        finally:
            self.deadline, self.end = before

    @contextlib.contextmanager
    def within(self, timeout: float) -> Iterator[None]:
        """Give all that this thread asks of the server so many seconds, together."""
        end = time.monotonic() + timeout
        with self.due(end, end=end):
            yield

    @contextlib.contextmanager
    def to_clean_up(self, grace: float) -> Iterator[None]:
        """Give requests so many seconds of their own, to put away what a call leaves."""
        with self.due(self.deadline, end=time.monotonic() + grace, anew=True):
            yield

    def is_over(self, deadline: float = math.inf) -> bool:
        """Tell whether there is no time for another request of this thread."""
        return time.monotonic() >= min(deadline, self.end)

    def left(self, most: float) -> float:
        """Return the seconds that are left, and no more than `most`."""
        return min(most, max(_MOMENT, self.end - time.monotonic()))
