"""The times that servers write, on this machine's clock."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

#: Time zones differ by multiples of that, in seconds.
_ZONE_STEP = 900


class Clock:
    """Turns a server's times into seconds since a test began.

    A server writes its own local time, without a zone. What came of it was received at a time that
    this machine knows: the difference, rounded, is the server's zone. Their clocks are taken to be
    the same otherwise, as a container's and its machine's are.

    Args:
        started: When the test began, in seconds since 1970.
        received: Pairs of a time as the server wrote it, and when it came here.
    """

    def __init__(self, started: float, received: Iterable[tuple[str, float]] = ()) -> None:
        self._started = started
        differences = [
            here - there for text, here in received if (there := _as_utc(text)) is not None
        ]
        # The smallest: what was fetched again came late.
        zone = min(differences, default=0.0)
        self._zone = round(zone / _ZONE_STEP) * _ZONE_STEP

    def seconds(self, text: str) -> float | None:
        """When that was, in seconds since the test began; None for what is no time."""
        there = _as_utc(text)
        return None if there is None else there + self._zone - self._started


def _as_utc(text: str) -> float | None:
    """Seconds since 1970 of a time without a zone, if that were UTC; one with a zone as it says."""
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
