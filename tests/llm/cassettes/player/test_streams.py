"""Streams and whole answers are replayed as they came."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx
import pytest

from pytest_agent_sandbox.llm.cassettes.cassette import Cassette
from pytest_agent_sandbox.llm.replies import say
from tests.support.provider import Provider

from .studio import ANYTHING, SSE, Studio, Wire, ask, event, events_of, new_player, post


def test_a_stream_is_replayed_in_as_many_chunks(studio: Studio, file: Path) -> None:
    streamed = ask("Hello.", stream=True, stream_options={"include_usage": True})
    text = "A text that takes some pieces. " * 12
    player = new_player(file, "once")
    with studio.provided(Provider(lambda _: say(text), pause=0.02)) as live:
        client = studio.client(studio.lane(player, live))
        recorded = list(client.chat.completions.create(**streamed))
    assert len(recorded) > 15
    player.save("openai/gpt-4o")

    events = Cassette.load(file).lanes["1"][0].answer.events
    assert [event.data for event in events] == [
        *(chunk.to_dict(mode="json") for chunk in recorded),
        "[DONE]",
    ]
    times = [event.ms for event in events]
    assert times == sorted(times)
    assert len(set(times)) > 10, "they have their own times"
    assert 380 <= times[-1] <= Cassette.load(file).lanes["1"][0].answer.ms

    lane = studio.lane(new_player(file, "none"))
    begun = time.monotonic()
    assert list(studio.client(lane).chat.completions.create(**streamed)) == recorded
    assert time.monotonic() - begun < 0.3, "without the waits between them"
    assert lane.calls[0].usage
    assert lane.calls[0].streamed


def test_a_client_that_hangs_up_after_the_end_has_its_stream_recorded(
    studio: Studio, file: Path
) -> None:
    """OpenAI's own client stops reading at [DONE], and the provider may still hold the line."""
    player = new_player(file, "once")
    wire = Wire(event("a"), b"data: [DONE]\n\n", asyncio.Event(), media_type=SSE)
    client = studio.client(studio.lane(player, wire))
    assert len(list(client.chat.completions.create(**ask("Hello.", stream=True)))) == 1
    assert player.save("m") == ""
    assert len(Cassette.load(file).lanes["1"][0].answer.events) == 2


STREAMS = {
    "named": b'event: ping\ndata: {"a": 1}\n\nevent: x\ndata: [DONE]\n\n',
    "no JSON": b"data: one\n\ndata: two\n\n",
    "other line ends": b'data: {"a": 1}\r\n\r\ndata: [DONE]\r\n\r\n',
    "comments": b': ping\n\ndata: {"a": 1}\n\n: ping\n\n',
    "JSON in two lines": b'data: {"a":\ndata:  1}\n\ndata: [DONE]\n\n',
    "lists": b'data: [1, "a"]\n\ndata: [[], {}]\n\n',
    "letters": 'data: {"a": "ü\\ud83c 🎉"}\n\n'.encode(),
}


def replay_of(studio: Studio, file: Path, wire: Wire) -> tuple[httpx.Response, httpx.Response]:
    """An answer as it came, and as it comes again; of no dialect, so that it may be anything."""
    player = new_player(file, "all")
    first = post(studio.lane(player, wire), path=ANYTHING)
    assert player.save("m") == ""
    return first, post(studio.lane(new_player(file, "none")), path=ANYTHING)


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_any_stream_is_replayed(studio: Studio, file: Path, stream: bytes) -> None:
    first, second = replay_of(studio, file, Wire(stream, media_type=SSE))
    assert events_of(second.content) == events_of(first.content) != []
    assert second.headers["content-type"] == first.headers["content-type"]


def test_a_stream_that_comes_byte_by_byte_is_replayed(studio: Studio, file: Path) -> None:
    stream = b"".join(STREAMS.values())
    chunks = [stream[i : i + 1] for i in range(len(stream))]
    first, second = replay_of(studio, file, Wire(*chunks, media_type=SSE))
    assert events_of(second.content) == events_of(first.content)


@pytest.mark.parametrize(
    "stream",
    [
        # str.splitlines() in sse.py cuts the line there, and the event's second half is lost.
        'data: {"a": "one\u2028two\x85three"}\n\ndata: [DONE]\n\n'.encode(),
        # The rest in the splitter is never looked at; clients do take it for an event.
        b'data: {"a": 1}\n\ndata: {"a": 2}\n',
        # Text of several lines is put on one `data:`, and a string loses its quotes.
        b"data: one\ndata: two\n\n",
        b'data: "a string"\n\n',
        # A TypeError out of `save`: recording.py's _collect() takes a number for a list.
        b"data: 1\n\ndata: null\n\n",
        # An empty stream comes again as `null`.
        b"",
    ],
    ids=["unicode's line ends", "no end", "text in two lines", "a JSON string", "numbers", "empty"],
)
def test_more_streams_are_replayed(studio: Studio, file: Path, stream: bytes) -> None:
    first, second = replay_of(studio, file, Wire(stream, media_type=SSE))
    assert events_of(second.content) == events_of(first.content)
    if not stream:
        assert second.content == b""


@pytest.mark.parametrize(
    "body",
    [b"{}", b"[]", b"1.5", b"null", b"", b"no JSON\n", b'{"a": "\\ud83c"}', "ü\n".encode()],
    ids=repr,
)
def test_any_whole_answer_is_replayed(studio: Studio, file: Path, body: bytes) -> None:
    first, second = replay_of(studio, file, Wire(body))
    assert first.content == second.content == body


@pytest.mark.parametrize("body", [b'"a string"', b"\xff\xf3\x84\x00"], ids=repr)
def test_more_whole_answers_are_replayed(studio: Studio, file: Path, body: bytes) -> None:
    first, second = replay_of(studio, file, Wire(body, media_type="audio/mpeg"))
    assert first.content == second.content == body
