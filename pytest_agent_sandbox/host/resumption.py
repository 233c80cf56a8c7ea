"""A stream of bytes that goes on over one connection after the other, and loses nothing.

It runs at both ends of a `Tunnel`, and is a program of its own, as `multiplexer` is. Each end keeps
what it has sent until the other one says that it has come.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Deque, List, Tuple

#: A frame: what it is, where it begins or how far the stream has come, and its length.
FRAME = struct.Struct(">BQI")
HELLO, PIECE, COME = range(3)
#: The most bytes of a piece.
LARGEST_PIECE = 128 * 1024
#: The most bytes that are kept: whoever sends waits then.
MOST_KEPT = 4 * 1024 * 1024
# How many bytes may come before that is said.
_SAID_EVERY = 256 * 1024


class ResumptionError(Exception):
    """A breach of the protocol by the other end."""


class Resumption:
    """What one end of the stream has sent and received; it reads and writes nothing itself."""

    def __init__(self) -> None:
        #: Bytes that have come.
        self.received = 0
        self._said = 0
        self._sent = 0
        self._kept: Deque[Tuple[int, bytes]] = deque()
        self._unread = bytearray()

    @property
    def kept(self) -> int:
        """How many bytes the other end has not said to have."""
        return self._sent - self._kept[0][0] if self._kept else 0

    def hello(self) -> bytes:
        """Return what a new connection begins with: how far the stream has come."""
        self._unread.clear()
        self._said = self.received
        return FRAME.pack(HELLO, self.received, 0)

    def pack(self, data: bytes) -> bytes:
        """Return what to send for data, which is kept."""
        frames = []
        for begin in range(0, len(data), LARGEST_PIECE):
            piece = data[begin : begin + LARGEST_PIECE]
            self._kept.append((self._sent, piece))
            frames.append(FRAME.pack(PIECE, self._sent, len(piece)) + piece)
            self._sent += len(piece)
        return b"".join(frames)

    def again(self, hello: bytes) -> bytes:
        """Return what the other end lacks, as its first frame on a new connection says.

        Raises:
            ResumptionError: It is none, or wants what is not there any more.
        """
        kind, received, size = FRAME.unpack(hello)
        first = self._kept[0][0] if self._kept else self._sent
        if kind != HELLO or size or not first <= received <= self._sent:
            raise ResumptionError("it goes on with another stream")
        self._forget(received)
        return b"".join(
            FRAME.pack(PIECE, offset, len(piece)) + piece for offset, piece in self._kept
        )

    def feed(self, data: bytes) -> Tuple[List[bytes], bytes]:
        """Take what has come; return what is new in it, in order, and what to answer.

        Raises:
            ResumptionError: The other end does not keep to the protocol.
        """
        self._unread += data
        new = []
        while len(self._unread) >= FRAME.size:
            kind, offset, size = FRAME.unpack_from(self._unread)
            if kind not in (PIECE, COME) or size > LARGEST_PIECE:
                raise ResumptionError("it sends what is no frame")
            if len(self._unread) < FRAME.size + size:
                break
            piece = bytes(self._unread[FRAME.size : FRAME.size + size])
            del self._unread[: FRAME.size + size]
            if kind == COME:
                if offset > self._sent:
                    raise ResumptionError("it has more than was sent")
                self._forget(offset)
                continue
            if offset > self.received:
                raise ResumptionError("something is missing")
            piece = piece[self.received - offset :]
            if piece:
                self.received += len(piece)
                new.append(piece)
        if self.received - self._said < _SAID_EVERY:
            return new, b""
        self._said = self.received
        return new, FRAME.pack(COME, self.received, 0)

    def _forget(self, received: int) -> None:
        while self._kept and self._kept[0][0] + len(self._kept[0][1]) <= received:
            self._kept.popleft()
