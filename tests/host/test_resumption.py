"""A stream over connections that break off at any byte: what arrives is what was sent, once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_agent_sandbox.host.resumption import (
    COME,
    FRAME,
    HELLO,
    LARGEST_PIECE,
    PIECE,
    Resumption,
    ResumptionError,
)


class Wire:
    """Two ends, and a connection between them that can be cut."""

    def __init__(self) -> None:
        self.ends = Resumption(), Resumption()
        self.on_way = bytearray(), bytearray()
        self.arrived = bytearray(), bytearray()
        self.is_open = False

    def connect(self) -> None:
        hellos = [end.hello() for end in self.ends]
        for place, end in enumerate(self.ends):
            self.on_way[place][:] = end.again(hellos[1 - place])
        self.is_open = True

    def cut(self) -> None:
        for waiting in self.on_way:
            waiting.clear()
        self.is_open = False

    def send(self, place: int, data: bytes) -> None:
        frames = self.ends[place].pack(data)
        if self.is_open:
            self.on_way[place].extend(frames)

    def move(self, place: int, count: int) -> None:
        """Bring some bytes of one end's to the other."""
        taken = bytes(self.on_way[place][:count])
        del self.on_way[place][:count]
        new, answer = self.ends[1 - place].feed(taken)
        self.arrived[1 - place].extend(b"".join(new))
        if self.is_open:
            self.on_way[1 - place].extend(answer)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 1), st.integers(0, 300_000)),
        st.tuples(st.just("move"), st.integers(0, 1), st.integers(1, 400_000)),
        st.tuples(st.just("cut"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_breaks_off_arrives_once_and_in_order(steps: list[tuple[str, int, int]]) -> None:
    wire = Wire()
    wire.connect()
    sent = bytearray(), bytearray()
    for number, (what, place, size) in enumerate(steps):
        if what == "send":
            data = bytes([number % 251]) * size
            sent[place].extend(data)
            wire.send(place, data)
        elif what == "move":
            wire.move(place, size)
        else:
            wire.cut()
            wire.connect()
        for one in (0, 1):
            assert sent[1 - one].startswith(wire.arrived[one])
    wire.cut()
    wire.connect()
    while any(wire.on_way):
        for place in (0, 1):
            wire.move(place, 100_000)
    assert wire.arrived == (sent[1], sent[0])


def test_what_has_come_is_not_kept() -> None:
    wire = Wire()
    wire.connect()
    for _ in range(100):
        wire.send(0, bytes(100_000))
        wire.move(0, 200_000)
        wire.move(1, 1000)
    assert wire.ends[0].kept <= 400_000


@pytest.mark.parametrize(
    "frame",
    [
        FRAME.pack(9, 0, 0),
        FRAME.pack(PIECE, 0, LARGEST_PIECE + 1),
        FRAME.pack(PIECE, 5, 1) + b"x",
        FRAME.pack(COME, 1, 0),
        FRAME.pack(HELLO, 0, 0),
    ],
)
def test_a_breach_is_noticed(frame: bytes) -> None:
    with pytest.raises(ResumptionError):
        Resumption().feed(frame)


@pytest.mark.parametrize("hello", [FRAME.pack(PIECE, 0, 0), FRAME.pack(HELLO, 7, 0)])
def test_another_stream_is_not_taken_up(hello: bytes) -> None:
    with pytest.raises(ResumptionError):
        Resumption().again(hello)
