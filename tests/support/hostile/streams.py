"""Streams of server-sent events as no provider sends them, cut anywhere."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

from hypothesis import strategies as st

from pytest_agent_sandbox.llm.sse import EventSplitter, ServerSentEvent
from tests.support.hostile.search import search

#: Bytes of a large stream, and seconds that no such one takes.
_SIZE, _LONG = 1 << 20, 4.0
#: One in so many is a large one.
_SELDOM = 50

_PIECES = st.sampled_from(
    [
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\r\n\r\n",
        b"\r\r",
        b"data: 1",
        b"data:",
        b"data",
        b":",
        b"event: a",
        b"event:",
        b"id: 1",
        b"retry: 1",
        b"\xef\xbb\xbf",
        b"\xef\xbb",
        b"\xff",
        b"\x00",
        "ü\u2028\x85\x0b\x1c".encode(),
        b'data: {"a": 1}',
        b"data: [DONE]",
        b" ",
        b"x" * 300,
    ]
) | st.binary(max_size=8)
STREAMS = st.tuples(
    st.lists(_PIECES, max_size=30).map(b"".join), st.lists(st.integers(0, 400), max_size=30)
)
#: A piece to repeat, and the length of each chunk.
LARGE = st.tuples(st.lists(_PIECES, min_size=1, max_size=4).map(b"".join), st.integers(64, 1 << 16))


def split(*chunks: bytes) -> list[ServerSentEvent]:
    splitter = EventSplitter()
    events = [event for chunk in chunks for event in splitter.feed(chunk)]
    return [*events, *splitter.end()]


def told(events: Sequence[ServerSentEvent]) -> list[tuple[str, str]]:
    """What the events say; those that say nothing are left out."""
    return [(event.name, event.data) for event in events if event.data or event.name]


def check(case: tuple[bytes, list[int]]) -> None:
    """Where it is cut changes nothing, and nothing is lost."""
    stream, places = case
    whole = split(stream)
    assert b"".join(event.raw for event in whole).strip() == stream.strip()
    cuts = sorted(place for place in places if place <= len(stream))
    pieces = [stream[i:j] for i, j in itertools.pairwise([0, *cuts, len(stream)])]
    assert told(split(*pieces)) == told(whole), pieces
    assert told(split(*(stream[i : i + 1] for i in range(len(stream))))) == told(whole)


def check_large(case: tuple[bytes, int]) -> None:
    """A large one takes time by its length, whatever it is made of."""
    unit, size = case
    stream = unit * (_SIZE // max(1, len(unit)))
    began = time.process_time()
    events = split(*(stream[i : i + size] for i in range(0, len(stream), size)))
    assert sum(len(event.raw) for event in events) <= len(stream)
    assert time.process_time() - began < _LONG


def run(seed: int, count: int) -> None:
    """Split so many, some of them large."""
    search(STREAMS, check, seed=seed, count=count)
    search(LARGE, check_large, seed=seed, count=max(1, count // _SELDOM))
