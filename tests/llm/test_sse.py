"""Server-sent events, in all the forms in which providers may send them."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_agent_sandbox.llm.sse import (
    EventSplitter,
    ServerSentEvent,
    is_event_stream,
    json_object,
)

LINE_ENDS = [b"\n", b"\r\n", b"\r"]
#: Any two of them, but for those that would be one.
EMPTY_LINES = [a + b for a, b in itertools.product(LINE_ENDS, repeat=2) if a + b != b"\r\n"]


def split(*chunks: bytes) -> list[ServerSentEvent]:
    splitter = EventSplitter()
    events = [event for chunk in chunks for event in splitter.feed(chunk)]
    return [event for event in [*events, *splitter.end()] if event.data or event.name]


@pytest.mark.parametrize("inner", LINE_ENDS, ids=repr)
@pytest.mark.parametrize("empty_line", EMPTY_LINES, ids=repr)
def test_line_ends_may_be_mixed(inner: bytes, empty_line: bytes) -> None:
    stream = (b"event: x" + inner + b"data: one" + inner + b"data: two" + empty_line) * 2
    for chunks in ([stream], [stream[i : i + 1] for i in range(len(stream))]):
        assert [(e.name, e.data) for e in split(*chunks)] == [("x", "one\ntwo")] * 2


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "ü", '{"a": 1}']), *[st.sampled_from(["\n", "\r\n"])] * 2)
    ),
    st.data(),
)
def test_where_the_pieces_are_cut_does_not_matter(
    events: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    stream = "".join(f"data: {text}{one}{two}" for text, one, two in events).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    pieces = [stream[i:j] for i, j in itertools.pairwise([0, *cuts, len(stream)])]
    assert [event.data for event in split(*pieces)] == [text for text, _, _ in events]


def test_one_line_end_ends_no_event() -> None:
    splitter = EventSplitter()
    assert [splitter.feed(piece) for piece in (b"data: 1\r", b"\n", b"data: 2\r\n")] == [[], [], []]
    assert [event.data for event in splitter.feed(b"\r\n")] == ["1\n2"]


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert [event.data for event in split(b"\xef\xbb\xbfdata: 1\n\ndata: 2\n\n")] == ["1", "2"]


def test_a_large_event_in_small_pieces_takes_little_time() -> None:
    stream = b"data: " + b"x" * (8 << 20) + b"\n\n"
    splitter, began = EventSplitter(), time.process_time()
    events = [e for i in range(0, len(stream), 4096) for e in splitter.feed(stream[i : i + 4096])]
    assert [len(event.raw) for event in events] == [len(stream)]
    assert time.process_time() - began < 1, "it is looked through once, not for each piece anew"


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream", True),
        ("TEXT/EVENT-STREAM;charset=UTF-8", True),
        (" text/event-stream ; charset=utf-8", True),
        ("text/event-streams", False),
        ("application/json", False),
        ("", False),
    ],
)
def test_the_case_of_a_media_type_does_not_matter(media_type: str, expected: bool) -> None:
    assert is_event_stream(media_type) is expected


def test_an_answer_of_hundreds_of_thousands_of_values_is_not_read() -> None:
    assert json_object('{"a":[' + "[]," * 100_000 + "1]}") != {}
    assert json_object('{"a":[' + "[]," * 200_000 + "1]}") == {}
