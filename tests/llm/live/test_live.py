"""Live mode against a small provider on this machine."""

from __future__ import annotations

import gc
import json
import socket
import threading
import time
import weakref
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import openai
import pytest
from pydantic import SecretStr

from pytest_agent_sandbox.llm.connections import Connections
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.live import LiveSource
from pytest_agent_sandbox.llm.replies import Usage, say
from pytest_agent_sandbox.llm.script import Script
from tests.support.timing import eventually
from tests.support.unchecked import tool

from .wire import ASKED, KEY, chunk, send_chunk, send_event, url


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
        eventually(lambda: all(call.usage or call.number == 2 for call in lane.calls))
        assert lane.calls[0].usage == Usage(7, 3)
        assert lane.calls[1].usage is None
        assert lane.calls[2].usage == scripted.calls[2].usage
        assert [call.streamed for call in lane.calls] == [False, True, True]
        assert {(call.model, call.messages, call.status) for call in lane.calls} == {
            ("gpt-4o", 1, 200)
        }


def test_a_request_is_passed_on_as_it_was_read(lane: Lane, upstream: Any) -> None:
    body = b'{"model":  "gpt-4o", "odd": "spac\\u00e9"}'
    written = '{"model":"gpt-4o","odd":"spacé"}'.encode()
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
    answer = httpx.post(url(lane, "/chat/completions?d=e&f=%20g"), content=body, headers=headers)
    assert answer.json() == {"ok": True}
    method, path, sent, got = upstream.requests[0]
    assert (method, path, got) == ("POST", "/api/v1/chat/completions?d=e&f=%20g", written)
    assert sent["authorization"] == f"Bearer {KEY}"
    assert sent["host"] == upstream.url.split("/")[2]
    assert (sent["openai-beta"], sent["user-agent"]) == ("x=1", "agent/1")
    assert sent["accept-encoding"] == "identity"
    assert not {"x-hop", "te", "x-api-key"} & set(sent)
    assert lane.token not in str(sent)


@pytest.mark.parametrize(
    "name",
    [
        *("OpenAI-Organization", "OpenAI-Project", "Cookie", "X-Forwarded-For", "Forwarded"),
        *("X-HTTP-Method-Override", "X-Original-URL", "X-Rewrite-URL", "Proxy-Authorization"),
        *("X-LiteLLM-API-Key", "API-Key", "X-Goog-Api-Key", "ChatGPT-Account-Id", "Expect"),
        *("Content-Encoding", "Content-Language", "Range", "X-Anything", "Via"),
    ],
)
def test_a_header_that_no_provider_needs_stays_here(lane: Lane, upstream: Any, name: str) -> None:
    """A sandbox may not choose whose money is spent by the key, nor turn a request into another."""
    content = {} if name == "Content-Encoding" else {name: "x-1"}
    httpx.post(url(lane, "/messages"), json=ASKED, headers={"x-api-key": lane.token, **content})
    assert name.lower() not in upstream.requests[-1][2]


@pytest.mark.parametrize(
    "name",
    [
        *("User-Agent", "Accept", "Accept-Language", "Idempotency-Key", "X-Stainless-Retry-Count"),
        *("Anthropic-Version", "Anthropic-Beta", "OpenAI-Beta", "HTTP-Referer", "X-Title"),
        *("originator", "session_id", "conversation_id", "X-App"),
    ],
)
def test_a_header_that_clients_and_providers_agree_on_is_passed_on(
    lane: Lane, upstream: Any, name: str
) -> None:
    headers = {"x-api-key": lane.token, name: "x-1"}
    httpx.post(url(lane, "/messages"), json=ASKED, headers=headers)
    assert upstream.requests[-1][2][name.lower()] == "x-1"


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
    eventually(lambda: lane.calls[0].usage is not None)
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
    eventually(lambda: lane.calls[0].usage is not None)
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
    headers = {"x-api-key": lane.token}
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            assert httpx.get(url(lane, "/models"), headers=headers).is_success
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
    eventually(lambda: lane.calls[0].duration is not None)
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
    eventually(lambda: lane.calls[0].duration is not None)
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
