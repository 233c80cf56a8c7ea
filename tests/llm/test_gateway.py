"""The server itself: who gets in, what it leaves behind, how it ends."""

from __future__ import annotations

import http.client
import json
import logging
import re
import signal
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import psutil
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from pytest_agent_sandbox.errors import SandboxError, SettingsError
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.replies import LLMRequest, Reply, delay, say
from pytest_agent_sandbox.llm.script import Script

#: Requests that anybody in a sandbox can send without a token, whole or broken.
WITHOUT_TOKEN = {
    "a long path": b"GET /v1/" + b"A" * 30_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a strange path": b"GET /v1/%1b[2J%0d\x1b[31m HTTP/1.1\r\nHost: x\r\n\r\n",
    "a token that is none": b"GET /v1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n",
    "another dialect": b"POST /v1beta/models/x:generateContent HTTP/1.1\r\nHost: x\r\n\r\n",
    "no HTTP": b"\x00\x01\x02\r\n\r\n",
    "a WebSocket": b"GET /v1 HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n"
    b"Upgrade: websocket\r\n\r\n",
}

ASKED = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}


def post(lane: Lane, **headers: str) -> httpx.Response:
    url = f"{lane.base_url('127.0.0.1')}/chat/completions"
    return httpx.post(url, json=ASKED, headers=headers, timeout=20)


@pytest.mark.parametrize("request_", WITHOUT_TOKEN.values(), ids=WITHOUT_TOKEN.keys())
def test_requests_without_a_token_do_not_flood_the_log(
    gateway: Gateway,
    request_: bytes,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What the configuration of another Uvicorn in this process does.
    monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", False)
    for _ in range(150):
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
            connection.sendall(request_)
            assert connection.recv(1000).startswith(b"HTTP/1.1 4")
    assert 1 <= len(caplog.records) <= 3  # the 1st, the 10th, the 100th
    assert all(len(record.getMessage()) < 1100 for record in caplog.records)
    assert all(record.getMessage().isprintable() for record in caplog.records)


def test_only_the_token_opens_a_lane(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    lane = gateway.open_lane(Script([say("a"), say("b"), say("c")]))
    other = gateway.open_lane(Script([]))
    assert post(lane, Authorization=f"Bearer {lane.token}").status_code == 200
    assert post(lane, authorization=f"bearer {lane.token}").status_code == 200
    assert post(lane, **{"x-api-key": lane.token}).status_code == 200
    refused = [
        post(lane),
        post(lane, Authorization="Bearer"),
        post(lane, Authorization=lane.token),
        post(lane, Authorization=f"Bearer {lane.token}x"),
        post(lane, Authorization=f"Bearer {lane.token[:-1]}"),
    ]
    for answer in refused:
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert lane.token not in answer.text
    assert len(lane.calls) == 3
    assert len({lane.token, other.token}) == 2
    assert len(lane.token) >= 40
    assert lane.token not in caplog.text
    assert caplog.text.count("refused '/v1/chat/completions': no valid token") == 1
    assert "POST /v1" not in caplog.text, "no access log"
    assert lane.token not in repr(lane) + repr(gateway) + repr(lane.calls)
    lane.check()


def test_a_closed_lane_lets_nobody_in(gateway: Gateway, connect: Callable[..., Any]) -> None:
    with gateway.open_lane(Script([say("Hello.")])) as lane:
        client = connect(lane)
    lane.close()
    with pytest.raises(openai.AuthenticationError, match="its conversation is over"):
        client.chat.completions.create(**ASKED)


def test_a_closed_lane_s_connections_end(gateway: Gateway) -> None:
    # An agent server keeps them for as long as it lives, which may be many tests.
    def ask(connection: http.client.HTTPConnection, lane: Lane) -> None:
        headers = {"Authorization": f"Bearer {lane.token}", "Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(ASKED), headers)

    def is_over(connection: http.client.HTTPConnection) -> bool:
        connection.sock.settimeout(5)
        return connection.sock.recv(1) == b""

    lane, other = (gateway.open_lane(Script([say("Hello.")] * 2)) for _ in range(2))
    slow = gateway.open_lane(Script([delay(0.3, say("Late."))]))
    idle, busy, kept = (
        http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=5) for _ in range(3)
    )
    for connection, its_lane in ((idle, lane), (kept, other)):
        ask(connection, its_lane)
        assert b"Hello." in connection.getresponse().read()
    ask(busy, slow)
    while not slow.calls:
        time.sleep(0.01)
    lane.close()
    slow.close()
    assert is_over(idle)
    answer = busy.getresponse()  # what is under way goes on
    assert b"Late." in answer.read()
    assert answer.headers["connection"] == "close" or is_over(busy)
    ask(kept, other)
    assert b"Hello." in kept.getresponse().read()
    for connection in (idle, busy, kept):
        connection.close()


def test_unknown_paths_are_404_in_openai_s_form(gateway: Gateway) -> None:
    lane = gateway.open_lane(Script([say("Hello.")]))
    root = f"http://127.0.0.1:{gateway.port}"
    headers = {"Authorization": f"Bearer {lane.token}"}
    for method, path in [
        ("POST", "/v1/embeddings"),
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/responses/1/cancel"),
        ("GET", "/"),
        ("POST", "/embeddings"),
        ("GET", "/v1"),
        ("GET", "/v1beta/models"),
    ]:
        body = {} if method == "POST" else None
        answer = httpx.request(method, root + path, headers=headers, json=body)
        assert answer.status_code == 404, path
        assert answer.json()["error"]["type"] == "invalid_request_error"
    text = httpx.get(root, headers=headers).text
    assert "base URL ends with /v1" in text
    assert "POST /v1/chat/completions, POST /v1/responses, POST /v1/messages" in text
    lane.check()


FOREIGN = {
    # path, query, headers of which one holds the token, and whose dialect that is
    "Ollama": ("/v1/api/chat", "", {"authorization": "Bearer {}"}, "Ollama's"),
    "Ollama, root": ("/api/generate", "", {"authorization": "Bearer {}"}, "Ollama's"),
    "Azure": (
        "/v1/openai/deployments/gpt-4o/chat/completions",
        "api-version=2025-01-01",
        {"api-key": "{}"},
        "Azure's",
    ),
    "Azure, at OpenAI's path": ("/v1/chat/completions", "", {"api-key": "{}"}, "Azure's"),
    "Gemini": (
        "/v1beta/models/gemini-3:generateContent",
        "",
        {"x-goog-api-key": "{}"},
        "Google's",
    ),
    "Gemini, by query": ("/v1/models/g:streamGenerateContent", "alt=sse&key={}", {}, "Google's"),
    "Vertex": ("/v1/x:rawPredict", "", {"authorization": "Bearer {}"}, "Google's"),
    "Bedrock": ("/v1/model/a.b-v1:0/converse", "", {"authorization": "Bearer {}"}, "Bedrock's"),
    "Bedrock, signed": (
        "/v1/chat/completions",
        "",
        {"authorization": "AWS4-HMAC-SHA256 Credential={}/20261130"},
        "Bedrock's",
    ),
    "Cohere": ("/v2/chat", "", {"authorization": "Bearer {}"}, "Cohere's"),
}


@pytest.mark.parametrize(("path", "query", "headers", "whose"), FOREIGN.values(), ids=FOREIGN)
def test_another_dialect_is_refused_by_its_name(
    gateway: Gateway, path: str, query: str, headers: dict[str, str], whose: str
) -> None:
    """Never with 401, which clients take for a wrong key."""
    script = Script([say("x")])
    with gateway.open_lane(script) as lane:
        for token in (lane.token, "no-token"):
            answer = httpx.post(
                f"http://127.0.0.1:{gateway.port}{path}?{query.format(token)}",
                headers={name: value.format(token) for name, value in headers.items()},
                json={"model": "m", "messages": []},
            )
            assert answer.status_code == 404
            message = answer.json()["error"]["message"]
            assert f"POST {path} is " in message
            assert whose in message
            assert "does not speak" in message
            assert "POST /v1/chat/completions, POST /v1/responses, POST /v1/messages" in message
            assert "key is none" not in message
        is_signed = "Credential" in str(headers)
        assert [call.status for call in lane.calls] == ([] if is_signed else [404])
        assert all(whose in call.problem for call in lane.calls)
    assert script.used == 0


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models"])
def test_a_key_in_another_header_too_does_no_harm(gateway: Gateway, path: str) -> None:
    """Some clients send their key in several headers."""
    with gateway.open_lane(Script([say("x")])) as lane:
        answer = httpx.request(
            "GET" if path.endswith("models") else "POST",
            f"http://127.0.0.1:{gateway.port}{path}?key=x",
            headers={"authorization": f"Bearer {lane.token}", "api-key": "x"},
            json={"model": "m", "messages": [{"role": "user", "content": "x"}]},
        )
        assert answer.status_code == 200


def test_a_library_that_leaves_out_v1_is_served_too(gateway: Gateway) -> None:
    lane = gateway.open_lane(Script([say("Hello.")] * 3))
    headers = {"Authorization": f"Bearer {lane.token}"}
    asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    for path, body in [
        ("/chat/completions", asked),
        ("/messages", asked),
        ("/responses", {"model": "m", "input": "hello"}),
    ]:
        answer = httpx.post(f"http://127.0.0.1:{gateway.port}{path}", headers=headers, json=body)
        assert (answer.status_code, "Hello." in answer.text) == (200, True), path
    assert [call.path for call in lane.calls] == ["/chat/completions", "/messages", "/responses"]
    lane.verify()


@pytest.mark.parametrize(
    "path", ["/v1/../admin", "/v1/%2e%2e/admin", "/v1/x/%2E%2E%2Fy", "/v1/./x"]
)
def test_a_path_does_not_climb(gateway: Gateway, path: str) -> None:
    lane = gateway.open_lane(Script([]))
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port)
    connection.request("GET", path, headers={"x-api-key": lane.token})
    assert connection.getresponse().status == 400
    connection.close()


def test_a_service_answers_to_its_token_only(gateway: Gateway) -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        body = (await Request(scope, receive).body()).decode()
        await PlainTextResponse(f"{scope['path']}: {body}")(scope, receive, send)

    lane = gateway.open_lane(Script([]))
    token = gateway.open_service(echo)
    assert token != lane.token

    def ask(shown: str) -> httpx.Response:
        url = f"http://127.0.0.1:{gateway.port}/any/where"
        return httpx.post(url, content="hello", headers={"Authorization": f"Bearer {shown}"})

    assert ask(token).text == "/any/where: hello"
    assert ask(token[:-1]).status_code == 401
    assert ask(lane.token).status_code == 404
    gateway.close_service(token)
    gateway.close_service(token)
    assert ask(token).status_code == 401


def test_a_client_that_wants_a_websocket_is_told_to_go_on_without(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    """Codex tries that first, and tries again for seconds unless it is told in this way."""
    lane = gateway.open_lane(Script([]))
    answer = httpx.get(
        f"{lane.base_url('127.0.0.1')}/responses",
        headers={
            "Authorization": f"Bearer {lane.token}",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
        },
    )
    assert answer.status_code == 426
    assert "no WebSockets" in answer.json()["error"]["message"]
    assert not caplog.records
    assert lane.calls == ()
    lane.check()


def test_a_large_body_is_served(gateway: Gateway) -> None:
    lane = gateway.open_lane(Script([lambda request: say(str(len(request.last_message)))]))
    long = {**ASKED, "messages": [{"role": "user", "content": "x" * 20_000_000}]}
    url = f"{lane.base_url('127.0.0.1')}/chat/completions"
    answer = httpx.post(url, json=long, headers={"x-api-key": lane.token}, timeout=30)
    assert answer.json()["choices"][0]["message"]["content"] == "20000000"


def test_an_answer_takes_milliseconds(gateway: Gateway) -> None:
    lane = gateway.open_lane(Script([say("Hello.")] * 30))
    url, headers = f"{lane.base_url('127.0.0.1')}/chat/completions", {"x-api-key": lane.token}
    took = []
    with httpx.Client() as client:
        for _ in range(30):
            begun = time.monotonic()
            client.post(url, json=ASKED, headers=headers)
            took.append(time.monotonic() - begun)
    assert statistics.median(took) < 0.02, "40 ms more is what delayed acknowledgements cost"


def test_base_url(gateway: Gateway) -> None:
    lane = gateway.open_lane(Script([]))
    port = gateway.port
    assert lane.base_url("host.docker.internal") == f"http://host.docker.internal:{port}/v1"
    assert lane.base_url("fd00::1") == f"http://[fd00::1]:{port}/v1"
    assert lane.base_url("h", "openai/gpt-4o") == f"http://h:{port}/v1"
    assert lane.base_url("h", "anthropic/claude-sonnet-4-5") == f"http://h:{port}"
    assert lane.base_url("h", "claude-sonnet-4-5") == f"http://h:{port}"


@pytest.mark.parametrize("name", ["", "a b", "ü", "x" * 21, "a/b"])
def test_a_lane_s_name_is_fit_for_an_id(gateway: Gateway, name: str) -> None:
    with pytest.raises(SettingsError, match="A lane cannot be named"):
        gateway.open_lane(Script([]), name=name)


def test_it_listens_where_it_was_told_and_nowhere_else(gateway: Gateway) -> None:
    mine = [
        connection.laddr
        for connection in psutil.Process().net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == gateway.port
    ]
    assert [address.ip for address in mine] == ["127.0.0.1"]


def test_a_port_that_is_taken_is_a_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            SandboxError, match=f"cannot listen on 127.0.0.1 port {port}"
        ) as failure:
            Gateway(port=port).start()
    assert "--sandbox-gateway-address" in str(failure.value)


@pytest.mark.parametrize("address", ["203.0.113.7", "no.such.host.invalid", "2001:db8::1"])
def test_an_address_of_another_machine_is_a_clear_error(address: str) -> None:
    with pytest.raises(SandboxError, match=f"cannot listen on {re.escape(address)}") as failure:
        Gateway(bind=address).start()
    assert "--sandbox-gateway-address" in str(failure.value)


def test_no_address_is_not_all_addresses() -> None:
    with pytest.raises(SettingsError, match="--sandbox-gateway-address is empty"):
        Gateway(bind="")


def test_a_port_of_one_s_own_can_be_used_again_at_once(unused_port: int) -> None:
    for _ in range(3):
        with Gateway(port=unused_port) as gateway:
            assert gateway.port == unused_port
            lane = gateway.open_lane(Script([say("Hello.")]))
            assert post(lane, **{"x-api-key": lane.token}).status_code == 200


def test_before_and_after() -> None:
    gateway = Gateway()
    with pytest.raises(SandboxError, match="was not started"):
        _ = gateway.port
    gateway.close()
    gateway.start()
    with pytest.raises(SandboxError, match="started before"):
        gateway.start()
    gateway.close()
    gateway.close()


def test_logging_and_signals_are_left_alone() -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers), signal.getsignal(signal.SIGINT))
    names = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")

    def uvicorn_loggers() -> list[tuple[int, list[logging.Handler], bool]]:
        loggers = map(logging.getLogger, names)
        return [(logger.level, list(logger.handlers), logger.propagate) for logger in loggers]

    uvicorn_before = uvicorn_loggers()
    with Gateway():
        assert (root.level, list(root.handlers), signal.getsignal(signal.SIGINT)) == before
    assert uvicorn_loggers() == uvicorn_before


def never(request: LLMRequest) -> Reply:
    STUCK.wait(20)
    return say("Too late.")


STUCK = threading.Event()


@pytest.mark.parametrize("stream", [False, True])
def test_close_does_not_wait_for_answers_under_way(
    stream: bool, connect: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    STUCK.clear()
    gateway = Gateway()
    gateway.start()
    lane = gateway.open_lane(Script([delay(60, say("Never.")), never]))
    client = connect(lane)
    with ThreadPoolExecutor() as pool:
        asked = [
            pool.submit(client.chat.completions.create, **ASKED, stream=stream) for _ in range(2)
        ]
        while len(lane.calls) < 2:
            time.sleep(0.01)
        time.sleep(0.05)
        begun = time.monotonic()
        gateway.close()
        took = time.monotonic() - begun
        for future in asked:
            with pytest.raises(openai.APIConnectionError):
                future.result(timeout=5)
    STUCK.set()
    assert took < 1
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_close_does_not_wait_for_idle_clients(connect: Callable[..., Any]) -> None:
    gateway = Gateway()
    gateway.start()
    lane = gateway.open_lane(Script([say("Hello.")]))
    client = connect(lane)
    client.chat.completions.create(**ASKED)
    with socket.create_connection(("127.0.0.1", gateway.port)) as half_sent:
        half_sent.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n")
        begun = time.monotonic()
        gateway.close()
        assert time.monotonic() - begun < 1


def test_start_and_close_twenty_times_leaves_nothing() -> None:
    process = psutil.Process()
    files = process.num_fds() if sys.platform != "win32" else process.num_handles()
    for _ in range(20):
        with Gateway():
            pass
    after = process.num_fds() if sys.platform != "win32" else process.num_handles()
    assert after <= files
