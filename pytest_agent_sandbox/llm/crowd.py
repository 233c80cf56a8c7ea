"""The connections of a server that have a limit, so that no client takes the process's files."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Collection
from typing import Protocol, TypeVar

#: A part of the files that a process may have open, in these bounds. Tests need the others.
_PART, _FEWEST, _MOST = 4, 64, 1000
#: Where there is no such number.
_USUAL = 1024


class Guest(Protocol):
    """A connection."""

    #: The client's address and port.
    client: tuple[str, int] | None
    #: When it was last of use.
    since: float

    @property
    def is_idle(self) -> bool:
        """Whether no answer is under way on it."""
        ...


_Guest = TypeVar("_Guest", bound=Guest)


def most_connections() -> int:
    """Return how many connections a server in this process may have."""
    return min(_MOST, max(_FEWEST, _files() // _PART))


def superfluous(guests: Collection[_Guest]) -> _Guest | None:
    """Return the connection to close where there are too many; None if all are in use.

    It is of the client that has most of them, which all others need not suffer from, and there the
    one that has been idle longest.
    """
    counts = Counter(_host(guest) for guest in guests)
    idle = [guest for guest in guests if guest.is_idle]
    return min(idle, key=lambda guest: (-counts[_host(guest)], guest.since), default=None)


def now() -> float:
    """Return the time by which guests say since when they are idle."""
    return time.monotonic()


def _host(guest: Guest) -> str:
    return guest.client[0] if guest.client else ""


def _files() -> int:
    if sys.platform == "win32":
        return _USUAL
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _USUAL * _PART if soft == resource.RLIM_INFINITY else soft
