"""Clock that reads the times of servers, by this machine's clock."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

#: Time zones differ by multiples of that, in seconds.
_ZONE_STEP = 900
#: No zone is farther from UTC, in seconds.
_LARGEST_ZONE = 15 * 3600


class Clock:
    """Reader of a server's times, as seconds since a test began.

    A server writes its own local time, without a zone. What came of it was received at a time that
    this machine knows: the difference, rounded, is the server's zone. Their clocks are taken to be
    the same otherwise, as a container's and its machine's are.

    Args:
        started: When the test began, in seconds since 1970.
        received: Pairs of a time as the server wrote it, and when it came here.
    """

    def __init__(self, started: float, received: Iterable[tuple[str, float]] = ()) -> None:
        self._started = started
        self._difference: float | None = None
        for text, here in received:
            self.learn(text, here)

    def learn(self, text: str, here: float) -> None:
        """Learn of one more time as the server wrote it, and when it came here."""
        there, has_zone = _read(text)
        if there is None or has_zone:
            return
        known = () if self._difference is None else (self._difference,)
        # One event with an impossible time must not move all the others; and the smallest of what
        # is possible counts: what was fetched again came late.
        self._difference = min((*known, here - there), key=lambda one: (not _is_possible(one), one))

    @property
    def _zone(self) -> float:
        return round((self._difference or 0.0) / _ZONE_STEP) * _ZONE_STEP

    def seconds(self, text: str) -> float | None:
        """Return when that was, in seconds since the test began; None for what is no time."""
        there, has_zone = _read(text)
        if there is None:
            return None
        return there + (0 if has_zone else self._zone) - self._started


def _is_possible(difference: float) -> bool:
    return abs(difference) < _LARGEST_ZONE


def _read(text: str) -> tuple[float | None, bool]:
    """Return seconds since 1970, as if a time without a zone were UTC; and whether it has one."""
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None, False
    has_zone = time.tzinfo is not None
    return (time if has_zone else time.replace(tzinfo=UTC)).timestamp(), has_zone
