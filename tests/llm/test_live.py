"""Live mode against a small provider on this machine."""

from __future__ import annotations

import gc
import gzip
import importlib.util
import json
import logging
import re
import socket
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import openai
import pytest
from pydantic import SecretStr

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.llm.connections import Connections
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.live import LiveSource, live_source
from pytest_agent_sandbox.llm.replies import Usage, say, tool
from pytest_agent_sandbox.llm.script import Script

KEY = "sk-the-real-key-0123456789"
ASKED: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def lane(gateway: Gateway, upstream: Any) -> Lane:
    return gateway.open_lane(LiveSource(upstream.url, SecretStr(KEY)))


@pytest.fixture(autouse=True)
def key_stays_secret(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG, logger="pytest_agent_sandbox")
    caplog.set_level(logging.DEBUG, logger="uvicorn")
    yield
    assert KEY not in caplog.text


def url(lane: Lane, path: str) -> str:
    return lane.base_url("127.0.0.1") + path


def test_the_scripted_gateway_as_upstream(gateway: Gateway, connect: Callable[..., Any]) -> None:
    with Gateway() as provider:
        scripted = provider.open_lane(
            Script([say("One.", usage=Usage(7, 3)), tool("terminal", command="ls"), say("Three.")])
        )
        key = SecretStr(scripted.token)
        lane = gateway.open_lane(LiveSource(scripted.base_url("127.0.0.1"), key))
        client = connect(lane)
        assert client.chat.completions.create(**ASKED).choices[0].message.content == "One."
        with client.chat.completions.stream(**ASKED) as stream:
            message = stream.get_final_completion().choices[0].message
        assert message.tool_calls[0].function.name == "terminal"
        chunks = list(
            client.chat.completions.create(
                **ASKED, stream=True, stream_options={"include_usage": True}
            )
        )
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Three."
        assert [model.id for model in client.models.list()] == ["scripted"]
        scripted.verify()
        lane.verify()
        wait_for(lambda: all(call.usage or call.number == 2 for call in lane.calls))
        assert lane.calls[0].usage == Usage(7, 3)
        assert lane.calls[1].usage is None
        assert lane.calls[2].usage == scripted.calls[2].usage
        assert [call.streamed for call in lane.calls] == [False, True, True]
        assert {(call.model, call.messages, call.status) for call in lane.calls} == {
            ("gpt-4o", 1, 200)
        }


def test_a_request_is_passed_on_as_it_is(lane: Lane, upstream: Any) -> None:
    body = b'{"model":  "gpt-4o", "odd": "spac\\u00e9"}'
    headers = {
        "Authorization": f"Bearer {lane.token}",
        "OpenAI-Beta": "x=1",
        "User-Agent": "agent/1",
        "Connection": "keep-alive, x-hop",
        "X-Hop": "1",
        "TE": "trailers",
        "Accept-Encoding": "gzip",
        "Content-Type": "application/json",
    }
    answer = httpx.post(url(lane, "/a%2Fb/c?d=e&f=%20g"), content=body, headers=headers)
    assert answer.json() == {"ok": True}
    method, path, sent, got = upstream.requests[0]
    assert (method, path, got) == ("POST", "/api/v1/a%2Fb/c?d=e&f=%20g", body)
    assert sent["authorization"] == f"Bearer {KEY}"
    assert sent["host"] == upstream.url.split("/")[2]
    assert (sent["openai-beta"], sent["user-agent"]) == ("x=1", "agent/1")
    assert sent["accept-encoding"] == "identity"
    assert not {"x-hop", "te", "x-api-key"} & set(sent)
    assert lane.token not in str(sent)


def test_the_key_goes_in_the_header_that_the_client_used(lane: Lane, upstream: Any) -> None:
    httpx.post(url(lane, "/messages"), json=ASKED, headers={"x-api-key": lane.token})
    sent = upstream.requests[0][2]
    assert sent["x-api-key"] == KEY
    assert "authorization" not in sent


def test_no_key_is_no_header(gateway: Gateway, upstream: Any) -> None:
    lane = gateway.open_lane(LiveSource(upstream.url, None))
    httpx.get(url(lane, "/models"), headers={"Authorization": f"Bearer {lane.token}"})
    sent = upstream.requests[0][2]
    assert not {"x-api-key", "authorization"} & set(sent)


def test_chunks_are_passed_on_as_they_come(
    lane: Lane, upstream: Any, connect: Callable[..., Any]
) -> None:
    seen_first = threading.Event()

    def stream(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        send_event(handler, chunk("first"))
        # The last chunk is made only after the client has seen the first.
        send_event(handler, chunk("last" if seen_first.wait(10) else "gathered"))
        usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
        send_event(handler, {**chunk(""), "choices": [], "usage": usage})
        send_chunk(handler, b"data: [DONE]\n\n")
        send_chunk(handler, b"")

    upstream.answer = stream
    texts = []
    for part in connect(lane).chat.completions.create(**ASKED, stream=True):
        texts += [choice.delta.content for choice in part.choices]
        seen_first.set()
    assert texts == ["first", "last"]
    wait_for(lambda: lane.calls[0].usage is not None)
    assert lane.calls[0].usage == Usage(11, 5)


def test_anthropic_s_usage_is_read_too(lane: Lane, upstream: Any) -> None:
    def stream(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream; charset=utf-8")
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        start = {"usage": {"input_tokens": 25, "output_tokens": 1}}
        send_event(handler, {"type": "message_start", "message": start})
        send_event(handler, {"type": "message_delta", "usage": {"output_tokens": 15}})
        send_chunk(handler, b"")

    upstream.answer = stream
    httpx.post(url(lane, "/messages"), json=ASKED, headers={"x-api-key": lane.token})
    wait_for(lambda: lane.calls[0].usage is not None)
    assert lane.calls[0].usage == Usage(25, 15)


def test_errors_and_rate_limits_are_passed_on(
    lane: Lane, upstream: Any, connect: Callable[..., Any]
) -> None:
    error = {"error": {"message": f"Incorrect API key: {KEY}", "type": "x", "code": "y"}}
    headers = {"retry-after": "9", "x-ratelimit-remaining-tokens": "0", "x-request-id": f"r-{KEY}"}
    upstream.answer = lambda handler: send_json(handler, error, 429, headers)
    with pytest.raises(openai.RateLimitError, match=r"Incorrect API key: \*\*\*") as failure:
        connect(lane).chat.completions.create(**ASKED)
    got = failure.value.response.headers
    assert (got["retry-after"], got["x-ratelimit-remaining-tokens"]) == ("9", "0")
    assert got["x-request-id"] == "r-***"
    assert KEY not in failure.value.response.text + str(got)
    assert len(upstream.requests) == 1, "retries are the client's business"
    assert (lane.calls[0].status, lane.calls[0].problem) == (429, "The provider answered 429.")
    lane.check()
    lane.verify()


def test_a_compressed_error_is_masked_too(lane: Lane, upstream: Any) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        body = gzip.compress(f"no such key {KEY}".encode())
        handler.send_response(401)
        handler.send_header("content-encoding", "gzip")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    upstream.answer = answer
    got = httpx.get(url(lane, "/models"), headers={"x-api-key": lane.token})
    assert (got.status_code, got.text) == (401, "no such key ***")


def test_what_the_provider_compresses_anyway_stays_readable(lane: Lane, upstream: Any) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        body = gzip.compress(b"hello")
        handler.send_response(200)
        handler.send_header("content-encoding", "gzip")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    upstream.answer = answer
    assert httpx.get(url(lane, "/models"), headers={"x-api-key": lane.token}).text == "hello"


PLAIN = json.dumps({"a": "hello " * 50}).encode()
RAW_DEFLATE = zlib.compressobj(wbits=-15)
ENCODED = {
    # content-encoding, and the body
    "gzip": ("gzip", gzip.compress(PLAIN)),
    "capitals": ("GZip", gzip.compress(PLAIN)),
    "members": ("gzip", gzip.compress(PLAIN[:9]) + gzip.compress(b"") + gzip.compress(PLAIN[9:])),
    "padded": ("gzip", gzip.compress(PLAIN[:9]) + b"\0\0" + gzip.compress(PLAIN[9:]) + b"\0"),
    "members inside": (
        "gzip, deflate",
        zlib.compress(gzip.compress(PLAIN[:9]) + gzip.compress(PLAIN[9:])),
    ),
    "an old name": ("x-gzip", gzip.compress(PLAIN)),
    "deflate": ("deflate", zlib.compress(PLAIN)),
    "raw deflate": ("deflate", RAW_DEFLATE.compress(PLAIN) + RAW_DEFLATE.flush()),
    "none": ("identity", PLAIN),
    "several": ("deflate, identity,GZIP", gzip.compress(zlib.compress(PLAIN))),
}
#: The same by libraries that need not be there.
BR = bytes.fromhex("1b3401f81d07b969e50ac4e1b19ec8a21409db6b9d32b43e09c2f656920c18071cbc40d618")
ZSTD = bytes.fromhex("28b52ffd603500b50000787b2261223a202268656c6c6f20227d01002351cb17")
BY_A_LIBRARY = {
    "br": ("br", BR, "brotli"),
    "zstd": ("zstd", ZSTD, "zstandard"),
    "br in gzip": ("BR, gzip", gzip.compress(BR), "brotli"),
}


def encoded(
    encoding: str, body: bytes, status: int = 200
) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-encoding", encoding)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize(("encoding", "body"), ENCODED.values(), ids=ENCODED)
def test_whatever_can_be_decoded_is(
    lane: Lane, upstream: Any, encoding: str, body: bytes, status: int
) -> None:
    upstream.answer = encoded(encoding, body, status)
    got = httpx.get(url(lane, "/models"), headers={"x-api-key": lane.token})
    assert (got.status_code, got.content) == (status, PLAIN)
    assert "content-encoding" not in got.headers


@pytest.mark.parametrize(("encoding", "body", "library"), BY_A_LIBRARY.values(), ids=BY_A_LIBRARY)
def test_what_takes_a_library_is_decoded_where_that_is(
    lane: Lane, upstream: Any, encoding: str, body: bytes, library: str
) -> None:
    upstream.answer = encoded(encoding, body)
    with httpx.stream("GET", url(lane, "/models"), headers={"x-api-key": lane.token}) as got:
        if importlib.util.find_spec(library) is None:
            assert got.headers["content-encoding"] == encoding
            assert b"".join(got.iter_raw()) == body
        else:
            assert "content-encoding" not in got.headers
            assert b"".join(got.iter_raw()) == PLAIN


@pytest.mark.parametrize("encoding", ["compress", "gzip, compress", "dcb"])
def test_what_cannot_be_decoded_is_passed_on_with_its_header(
    lane: Lane, upstream: Any, encoding: str
) -> None:
    upstream.answer = encoded(encoding, b"\x1f\x9d\x90")
    with httpx.stream("GET", url(lane, "/models"), headers={"x-api-key": lane.token}) as got:
        assert got.headers["content-encoding"] == encoding
        assert b"".join(got.iter_raw()) == b"\x1f\x9d\x90"


def test_an_error_that_cannot_be_read_is_told_by_its_status(lane: Lane, upstream: Any) -> None:
    """The key may be in it, where nobody can mask it."""
    for encoding, body in (("compress", b"sk-real"), ("gzip", b"no gzip: sk-real")):
        upstream.answer = encoded(encoding, body, 429)
        got = httpx.post(url(lane, "/messages"), headers={"x-api-key": lane.token}, json={})
        assert got.status_code == 429
        assert f"content-encoding is {encoding}" in got.json()["error"]["message"]
        assert "sk-real" not in got.text
        assert "cannot be read" in lane.calls[-1].problem


@pytest.mark.parametrize("body", [PLAIN, gzip.compress(PLAIN) + b"more"], ids=["none", "in part"])
def test_an_answer_that_is_not_encoded_as_it_says_breaks_off(
    lane: Lane, upstream: Any, body: bytes
) -> None:
    upstream.answer = encoded("gzip", body)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(url(lane, "/messages"), headers={"x-api-key": lane.token}, json={})
    assert "is no gzip, as its content-encoding says" in lane.calls[-1].problem


def test_members_are_found_wherever_a_chunk_ends(lane: Lane, upstream: Any) -> None:
    body = b"".join(gzip.compress(PLAIN[i : i + 50]) for i in range(0, len(PLAIN), 50))

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-encoding", "gzip")
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        for byte in body:
            handler.wfile.write(b"1\r\n%c\r\n" % byte)
        handler.wfile.write(b"0\r\n\r\n")

    upstream.answer = answer
    assert httpx.get(url(lane, "/models"), headers={"x-api-key": lane.token}).content == PLAIN


def test_a_compressed_stream_is_read_as_it_comes(lane: Lane, upstream: Any) -> None:
    compressor = zlib.compressobj(wbits=31)
    go_on = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("content-encoding", "gzip")
        handler.send_header("connection", "close")
        handler.end_headers()
        for text in ("one", "two"):
            event = f"data: {text}\n\n".encode()
            handler.wfile.write(compressor.compress(event) + compressor.flush(zlib.Z_SYNC_FLUSH))
            go_on.wait(10)
        handler.wfile.write(compressor.flush())

    upstream.answer = answer
    with httpx.stream("GET", url(lane, "/x"), headers={"x-api-key": lane.token}) as got:
        chunks = got.iter_raw()
        assert next(chunks) == b"data: one\n\n"
        go_on.set()
        assert b"".join(chunks) == b"data: two\n\n"


def test_a_request_is_let_go_of_with_its_answer(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the garbage collector: the requests of a long conversation are large."""
    requests: list[weakref.ref[httpx.Request]] = []
    send = Connections.send

    async def noted(connections: Connections, request: httpx.Request) -> httpx.Response:
        requests.append(weakref.ref(request))
        return await send(connections, request)

    monkeypatch.setattr(Connections, "send", noted)
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            assert httpx.post(url(lane, "/x"), headers={"x-api-key": lane.token}).is_success
        assert len(requests) == 10
        # The last ones may be at their ends still.
        assert sum(request() is not None for request in requests) <= 3
    finally:
        gc.enable()


def test_redirects_and_cookies_are_the_client_s_business(lane: Lane, upstream: Any) -> None:
    headers = {"location": "http://127.0.0.1:1/elsewhere", "set-cookie": "a=b"}
    upstream.answer = lambda handler: send_json(handler, {}, 307, headers)
    for _ in range(2):
        got = httpx.get(url(lane, "/models"), headers={"x-api-key": lane.token})
        assert (got.status_code, got.headers["location"]) == (307, headers["location"])
        assert got.headers["set-cookie"] == "a=b"
    assert all("cookie" not in sent for _, _, sent, _ in upstream.requests)


def test_a_provider_that_cannot_be_reached(
    gateway: Gateway, unused_port: int, connect: Callable[..., Any]
) -> None:
    lane = gateway.open_lane(LiveSource(f"http://127.0.0.1:{unused_port}/v1", SecretStr(KEY)))
    with pytest.raises(openai.APIStatusError, match="cannot be reached") as failure:
        connect(lane).chat.completions.create(**ASKED)
    assert failure.value.status_code == 502
    assert f"http://127.0.0.1:{unused_port}/v1" in str(failure.value)
    assert KEY not in failure.value.response.text
    assert "cannot be reached" in lane.calls[0].problem
    lane.check()


def test_a_kept_connection_that_the_provider_closes_is_no_failure(gateway: Gateway) -> None:
    """It closes it when the next request has come already; a new connection is not sent twice."""
    body = json.dumps({"object": "chat.completion", "choices": []}).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    connections = []

    def provide() -> None:
        for answers in (1, 1, 0):
            end, _ = server.accept()
            connections.append(end)
            with end:
                for _ in range(answers):
                    _read_request(end)
                    end.sendall(answer % (len(body), body))
                _read_request(end)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=provide)
        thread.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        lane = gateway.open_lane(LiveSource(address, SecretStr(KEY)))
        headers = {"authorization": f"Bearer {lane.token}"}

        def post() -> int:
            path = url(lane, "/chat/completions")
            return httpx.post(path, json=ASKED, headers=headers, trust_env=False).status_code

        assert [post(), post()] == [200, 200]
        assert len(connections) == 2
        assert post() == 502, "the third is closed although it is new"
        thread.join(5)
        assert len(connections) == 3
    assert [call.status for call in lane.calls] == [200, 200, 502]


def _read_request(end: socket.socket) -> None:
    """Reads one, or the end of the connection."""
    received = b""
    while b"hello" not in received:
        data = end.recv(65536)
        if not data:
            return
        received += data


def test_an_answer_that_breaks_off_is_not_taken_for_whole(lane: Lane, upstream: Any) -> None:
    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        send_event(handler, chunk("first"))
        handler.close_connection = True

    upstream.answer = cut
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(url(lane, "/chat/completions"), json=ASKED, headers={"x-api-key": lane.token})
    wait_for(lambda: lane.calls[0].duration is not None)
    assert "broke off" in lane.calls[0].problem


def test_a_client_that_goes_away_ends_the_provider_s_work(lane: Lane, upstream: Any) -> None:
    gone = threading.Event()

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        try:
            for _ in range(1000):
                send_event(handler, chunk("more"))
                time.sleep(0.01)
        except OSError:
            gone.set()

    upstream.answer = endless
    request = httpx.stream(
        "POST", url(lane, "/chat/completions"), json=ASKED, headers={"x-api-key": lane.token}
    )
    with request as answer:
        next(answer.iter_raw())
    assert gone.wait(5)
    wait_for(lambda: lane.calls[0].duration is not None)
    assert "went away" in lane.calls[0].problem


def test_close_cuts_a_stream_off(upstream: Any) -> None:
    release = threading.Event()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        send_event(handler, chunk("first"))
        release.wait(20)

    upstream.answer = hang
    gateway = Gateway()
    gateway.start()
    lane = gateway.open_lane(LiveSource(upstream.url, SecretStr(KEY)))
    request = httpx.stream(
        "POST", url(lane, "/chat/completions"), json=ASKED, headers={"x-api-key": lane.token}
    )
    with request as answer:
        parts = answer.iter_raw()
        next(parts)
        begun = time.monotonic()
        gateway.close()
        assert time.monotonic() - begun < 1
        with pytest.raises(httpx.TransportError):
            next(parts)
    release.set()


@pytest.mark.parametrize(
    ("model", "base_url", "upstream_url"),
    [
        ("gpt-4o", None, "https://api.openai.com/v1"),
        ("openai/gpt-4o", None, "https://api.openai.com/v1"),
        ("anthropic/claude-sonnet-4-5", None, "https://api.anthropic.com/v1"),
        ("claude-sonnet-4-5", None, "https://api.anthropic.com/v1"),
        ("anthropic/claude", "https://proxy/llm", "https://proxy/llm/v1"),
        ("anthropic/claude", "https://proxy/llm/v1/", "https://proxy/llm/v1"),
        ("anthropic/claude", "https://proxy/v1/messages", "https://proxy/v1"),
        ("openai/gpt-4o", "http://127.0.0.1:4000/", "http://127.0.0.1:4000"),
        ("mistral/large", "https://api.mistral.ai/v1", "https://api.mistral.ai/v1"),
    ],
)
def test_live_source(model: str, base_url: str | None, upstream_url: str) -> None:
    assert live_source(model, base_url, SecretStr(KEY)).base_url == upstream_url


def test_an_unknown_provider_needs_an_address() -> None:
    with pytest.raises(SettingsError, match=r"'mistral/large' is not known: set LLM_BASE_URL"):
        live_source("mistral/large", None, SecretStr(KEY))


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("azure/gpt-4o", "openai/gpt-4o and set LLM_BASE_URL (the LLM's base_url) to https://RES"),
        ("azure_ai/claude-sonnet-5", "azure_ai/ is nothing that the LLM gateway serves"),
        ("bedrock/converse/some.model-v1", "openai/converse/some.model-v1 and set"),
        ("gemini/gemini-2.5-pro", "googleapis.com/v1beta/openai, where"),
        ("vertex_ai/gemini-2.5-pro", "an OpenAI-compatible endpoint"),
        ("ollama_chat/llama3", "http://localhost:11434/v1, where"),
        ("acme/large", "acme/ is nothing"),
        ("OpenAI/gpt-4o", "OpenAI/ is nothing"),
        ("some-model", "names no provider"),
        ("gemini-2.5-pro", "Name it openai/gemini-2.5-pro"),
        ("openai/", "names no model"),
        ("/x", "/ is nothing"),
        ("", "Name it openai/…"),
    ],
)
@pytest.mark.parametrize("base_url", [None, "http://127.0.0.1:9/v1"])
def test_a_model_of_another_dialect_is_refused(model: str, told: str, base_url: str | None) -> None:
    with pytest.raises(SettingsError, match=re.escape(told)) as raised:
        live_source(model, base_url, SecretStr(KEY))
    assert KEY not in str(raised.value)


@pytest.mark.parametrize("model", ["o3-mini", "gpt-5", "ft:gpt-4o-mini:me", "claude-opus-4"])
def test_a_model_without_a_prefix(model: str) -> None:
    assert live_source(model, None, SecretStr(KEY)).base_url.startswith("https://api.")


@pytest.mark.parametrize(
    "address",
    ["", "localhost:4000", "ftp://x", "http://", "http://u:geheim@host/v1", "http://h/v1?k=geheim"],
)
def test_an_address_that_cannot_be_used(address: str) -> None:
    with pytest.raises(SettingsError, match="base URL") as failure:
        LiveSource(address, None)
    assert "geheim" not in str(failure.value)


@pytest.mark.parametrize("key", ["sk-geheim\nx", "sk-geheimü"])
def test_a_key_that_cannot_be_sent(key: str) -> None:
    with pytest.raises(SettingsError, match="API key holds a character") as failure:
        LiveSource("http://h/v1", SecretStr(key))
    assert "geheim" not in str(failure.value)


def test_the_key_is_in_no_repr() -> None:
    upstream = LiveSource("https://h/v1", SecretStr(f" {KEY}\n"))
    assert KEY not in repr(upstream) + str(vars(upstream))


def chunk(text: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": None,
    }


def send_event(handler: BaseHTTPRequestHandler, content: object) -> None:
    send_chunk(handler, b"data: " + json.dumps(content).encode() + b"\n\n")


def send_chunk(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    handler.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
    handler.wfile.flush()


def send_json(
    handler: BaseHTTPRequestHandler, content: object, status: int, headers: dict[str, str]
) -> None:
    body = json.dumps(content).encode()
    handler.send_response(status)
    handler.send_header("content-length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def wait_for(condition: Callable[[], bool], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
