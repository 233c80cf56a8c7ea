"""Room: how much memory the bodies of requests may take, and how many a lane may have at once.

Whoever has a token can send bodies that never end. Each lane has its own bound, and all together
have one; what a lane of honest requests needs is always there, whatever the others hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

MEGABYTE = 1024 * 1024
#: Bytes of one body: what Anthropic takes. A screenshot is some 300 KB of it.
LARGEST_BODY = 32 * MEGABYTE
#: Bytes of the bodies of one lane, and of all lanes.
OF_LANE = 64 * MEGABYTE
OF_ALL = 256 * MEGABYTE
#: Bytes that a lane may hold although there is no room for all.
RESERVED = 2 * MEGABYTE
#: Requests of one lane under way.
AT_ONCE = 256

#: Bytes of one body for a service: the arguments of a tool, which a model has written.
SERVICE_BODY = 4 * MEGABYTE

_TOO_LARGE, _TOO_MANY, _NO_ROOM = 413, 429, 503


class NoRoomError(Exception):
    """There is no room for a request: the status of the answer, and a message that says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Room:
    """The room that all lanes of a gateway share. It is for the gateway's event loop only."""

    def __init__(self) -> None:
        #: Bytes of bodies that are held now.
        self.held = 0

    def of_lane(self, largest: int = LARGEST_BODY) -> LaneRoom:
        """Return the room of one more lane, with the bytes that one body may have."""
        return LaneRoom(self, largest)


class LaneRoom:
    """The room of one lane, made by `Room.of_lane`."""

    def __init__(self, room: Room, largest: int) -> None:
        self._all = room
        self.largest = largest
        #: Bytes of bodies that are held now, and requests under way.
        self.held = 0
        self.requests = 0

    @contextmanager
    def request(self) -> Iterator[BodyRoom]:
        """Have room for one request until it has ended.

        Raises:
            NoRoomError: Too many are under way.
        """
        if self.requests >= AT_ONCE:
            raise NoRoomError(
                _TOO_MANY,
                f"{AT_ONCE} requests of this conversation are under way: wait for their answers.",
            )
        self.requests += 1
        body = BodyRoom(self)
        try:
            yield body
        finally:
            self.requests -= 1
            self.take(-body.held)

    def check(self, more: int) -> None:
        """Raise if there is no room for so many more bytes.

        Raises:
            NoRoomError: There is none, in this lane or for all.
        """
        if self.held + more > OF_LANE:
            raise NoRoomError(
                _TOO_MANY,
                f"The bodies of this conversation's requests under way are over {_mb(OF_LANE)} "
                "together: wait for their answers.",
            )
        if self._all.held + more > OF_ALL and self.held + more > RESERVED:
            raise NoRoomError(
                _NO_ROOM,
                f"The bodies of all requests under way are over {_mb(OF_ALL)}: try again later.",
            )

    def take(self, size: int) -> None:
        """Hold so many more bytes."""
        self.held += size
        self._all.held += size


class BodyRoom:
    """The room of one request's body, which grows as its bytes come."""

    def __init__(self, lane: LaneRoom) -> None:
        self._lane = lane
        #: Bytes that have come.
        self.held = 0

    def expect(self, size: int) -> None:
        """Raise if a body of this size is not worth reading: its headers state it.

        Raises:
            NoRoomError: It is too large, or there is no room for it now.
        """
        if size > self._lane.largest:
            message = f"The request's body is over {_mb(self._lane.largest)}."
            raise NoRoomError(_TOO_LARGE, message)
        self._lane.check(size - self.held)

    def grow(self, size: int) -> None:
        """Hold so many more bytes, which have come.

        Raises:
            NoRoomError: The body is too large, or there is no room for it now.
        """
        self.expect(self.held + size)
        self._lane.take(size)
        self.held += size


def _mb(size: int) -> str:
    return f"{size // MEGABYTE} MB"
