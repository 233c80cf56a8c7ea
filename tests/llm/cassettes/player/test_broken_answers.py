"""Answers that break off, are cut or unreadable, or are errors: none is recorded."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from pytest_agent_sandbox.llm.cassettes.cassette import Cassette
from pytest_agent_sandbox.llm.exchange import BrokenAnswerError
from pytest_agent_sandbox.llm.live import LiveSource
from pytest_agent_sandbox.llm.replies import say
from tests.support.provider import Provider
from tests.support.timing import eventually

from .studio import SSE, Studio, Wire, ask, event, events_of, new_player, post


def anthropic_start() -> bytes:
    return b'event: message_start\ndata: {"type": "message_start", "message": {}}\n\n'


def test_an_answer_that_breaks_off_writes_nothing(studio: Studio, file: Path) -> None:
    studio.record(file, "a")
    before = file.read_bytes()
    broken = [
        Wire(event("a"), BrokenAnswerError("gone"), media_type=SSE),
        Wire(b'{"a": ', BrokenAnswerError("gone")),
    ]
    for wire in broken:
        player = new_player(file, "all")
        lane = studio.lane(player, wire)
        with pytest.raises(httpx.RemoteProtocolError):
            post(lane)
        problem = player.save("m")
        assert "was not written: the answer to call 1 of conversation 1 is not complete" in problem
        assert str(file) in problem or file.name in problem
        assert file.read_bytes() == before


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
def test_a_client_that_goes_away_writes_nothing(studio: Studio, file: Path, streamed: bool) -> None:
    studio.record(file, "a")
    before = file.read_bytes()
    player = new_player(file, "all")
    begun, media_type = (event("a"), SSE) if streamed else (b"{", "application/json")
    lane = studio.lane(player, Wire(begun, asyncio.Event(), media_type=media_type))
    client = studio.client(lane, timeout=0.1)
    if streamed:
        with client.chat.completions.create(**ask("b", stream=True)) as stream:
            next(iter(stream))
    else:
        with pytest.raises(openai.APITimeoutError):
            client.chat.completions.create(**ask("b"))
    assert "the answer to call 1 of conversation 1 is not complete" in player.save("m")
    assert file.read_bytes() == before


def test_an_answer_under_way_is_waited_for(studio: Studio, file: Path) -> None:
    player = new_player(file, "once")
    with (
        studio.provided(Provider(lambda _: say("word " * 200), pause=0.02)) as live,
        ThreadPoolExecutor(1) as pool,
    ):
        lane = studio.lane(player, live)
        answer = pool.submit(post, lane, ask("a", stream=True))
        eventually(lambda: bool(lane.calls) and lane.calls[0].status is not None)
        assert player.save("m") == ""
        assert len(events_of(answer.result().content)) > 20
    assert Cassette.load(file).lanes["1"][0].answer.events[-1].data == "[DONE]"


@pytest.mark.parametrize("path", ["/messages", "/responses", "/chat/completions"])
def test_a_stream_without_its_end_writes_nothing(studio: Studio, file: Path, path: str) -> None:
    player = new_player(file, "all")
    begun = {
        "/messages": anthropic_start(),
        "/responses": b'data: {"type": "response.created", "response": {}}\n\n',
        "/chat/completions": event("a"),
    }
    lane = studio.lane(player, Wire(begun[path], media_type=SSE))
    assert post(lane, ask("a", stream=True), path).status_code == 200
    assert "not complete" in player.save("m")
    assert not file.exists()


def send_stream(*pieces: bytes, framed: bool = True, **headers: str) -> Callable[[Any], None]:
    """A provider's answer over HTTP; without a frame, nothing but its connection's end ends it."""

    def send(handler: Any) -> None:
        handler.send_response(200)
        frame = {"transfer-encoding": "chunked"} if framed else {"connection": "close"}
        for name, value in {"content_type": "Text/Event-Stream", **headers, **frame}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        for piece in [*pieces, b""] if framed else pieces:
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if framed else piece)

    return send


UNUSUAL = {
    "no finish_reason, no [DONE]": event("a") + event("b"),
    "carriage returns": (event("a") + b"data: [DONE]\n\n").replace(b"\n", b"\r"),
    "mixed line ends": event("a").replace(b"\n\n", b"\r\n\n") + b"data: [DONE]\r\r",
}


@pytest.mark.parametrize("stream", UNUSUAL.values(), ids=UNUSUAL)
def test_a_stream_of_an_unusual_form_is_recorded(
    studio: Studio, file: Path, upstream: Any, stream: bytes
) -> None:
    upstream.answer = send_stream(*(stream[i : i + 7] for i in range(0, len(stream), 7)))
    player = new_player(file, "once")
    live = studio.lane(player, LiveSource(upstream.url, None))
    first = post(live, ask("a", stream=True))
    assert first.content == stream
    assert player.save("m") == ""
    second = post(studio.lane(new_player(file, "none")), ask("a", stream=True))
    assert second.headers["content-type"] == first.headers["content-type"] == "Text/Event-Stream"
    text = first.text.replace("\r\n", "\n").replace("\r", "\n")
    assert events_of(second.content) == events_of(text.encode()) != []


def test_a_stream_that_may_have_been_cut_is_not_recorded(
    studio: Studio, file: Path, upstream: Any
) -> None:
    upstream.answer = send_stream(event("a"), framed=False)
    player = new_player(file, "once")
    assert post(studio.lane(player, LiveSource(upstream.url, None)), ask("a", stream=True)).text
    assert "not complete" in player.save("m")
    assert not file.exists()


CUT = {
    "in an event": ("/chat/completions", event("a") + event("b")[:-9], SSE, False),
    "in an event's end": ("/chat/completions", event("a") + event("b")[:-1], SSE, False),
    "nothing came": ("/chat/completions", b"", SSE, False),
    "Anthropic": ("/messages", b'data: {"type": "message_start"}\n\n', SSE, False),
    "responses": ("/responses", b'data: {"type": "response.created"}\n\n', SSE, False),
    "half a JSON": ("/chat/completions", b'{"id": "c", "choices": [', "application/json", False),
    "compressed": ("/chat/completions", event("a"), SSE, True),
    "compressed JSON": ("/chat/completions", b'{"id": "c", "cho', "application/json", True),
}


@pytest.mark.parametrize(("path", "body", "kind", "is_encoded"), CUT.values(), ids=CUT)
def test_a_cut_answer_is_not_recorded_though_its_frame_is_whole(
    studio: Studio, file: Path, upstream: Any, path: str, body: bytes, kind: str, is_encoded: bool
) -> None:
    """As a proxy passes on what it has got before its own provider went away."""
    headers = {"content_type": kind}
    if is_encoded:
        compressor = zlib.compressobj(wbits=31)
        body = compressor.compress(body) + compressor.flush(zlib.Z_SYNC_FLUSH)
        headers["content_encoding"] = "gzip"
    upstream.answer = send_stream(*([body] if body else []), **headers)
    player = new_player(file, "once")
    live = studio.lane(player, LiveSource(upstream.url, None))
    assert post(live, ask("a", stream=kind == SSE), path=path).status_code == 200
    assert "not complete" in player.save("m")
    assert not file.exists()


def test_half_a_json_of_its_full_length_is_not_recorded(
    studio: Studio, file: Path, upstream: Any
) -> None:
    def send(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", "8")
        handler.end_headers()
        handler.wfile.write(b'{"id": "')

    upstream.answer = send
    player = new_player(file, "once")
    assert post(studio.lane(player, LiveSource(upstream.url, None)), ask("a")).status_code == 200
    assert "not complete" in player.save("m")


def test_a_compressed_answer_is_recorded_as_it_reads(
    studio: Studio, file: Path, upstream: Any
) -> None:
    stream = event("readable") + b"data: [DONE]\n\n"
    upstream.answer = send_stream(gzip.compress(stream), content_encoding="GZIP")
    player = new_player(file, "once")
    live = studio.lane(player, LiveSource(upstream.url, None))
    assert post(live, ask("a", stream=True)).content == stream
    assert player.save("m") == ""
    assert '"readable"' in file.read_text()


def test_an_answer_that_cannot_be_read_is_not_recorded(
    studio: Studio, file: Path, upstream: Any
) -> None:
    upstream.answer = send_stream(b"\x1f\x9d\x90", content_encoding="compress")
    player = new_player(file, "once")
    lane = studio.lane(player, LiveSource(upstream.url, None))
    assert post(lane).headers["content-encoding"] == "compress"
    problem = player.save("m")
    assert "the answer to call 1 of conversation 1 cannot be read" in problem
    assert "content-encoding is compress" in problem
    assert not file.exists()
