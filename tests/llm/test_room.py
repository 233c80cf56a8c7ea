"""Bodies take so much memory and no more, and what one lane holds is not missing in another."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from pytest_agent_sandbox import say
from pytest_agent_sandbox.llm import asgi, room
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.replies import delay
from pytest_agent_sandbox.llm.script import Script
from tests.support.timing import eventually

PATHS = ["/chat/completions", "/responses", "/messages"]
MESSAGES = [{"role": "user", "content": "Hello?"}]


def lane_of(gateway: Gateway, *entries: object) -> Lane:
    return gateway.open_lane(Script(entries or [say("Hello.")] * 50))  # type: ignore[arg-type]


def ask(lane: Lane, size: int = 0, path: str = "/chat/completions") -> httpx.Response:
    content = json.dumps({"model": "m", "max_tokens": 9, "messages": MESSAGES, "input": MESSAGES})
    return httpx.post(
        lane.base_url("127.0.0.1") + path,
        content=content.ljust(size),
        headers={"x-api-key": lane.token},
        timeout=30,
    )


@contextlib.contextmanager
def unfinished(lane: Lane, size: int, stated: int | None = None) -> Iterator[socket.socket]:
    """A request of which so many bytes come, and no more."""
    length = size + 1 if stated is None else stated
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
        f"X-Api-Key: {lane.token}\r\nContent-Length: {length}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", lane._port()), timeout=10) as end:
        end.sendall(head.encode() + b" " * size)
        yield end


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_is_too_large_is_refused_by_its_length(gateway: Gateway, path: str) -> None:
    """None of its bytes is waited for."""
    lane = lane_of(gateway)
    head = (
        f"POST /v1{path} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {lane.token}\r\n"
        f"Content-Length: {room.LARGEST_BODY + 1}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as end:
        end.sendall(head.encode())
        answer = http.client.HTTPResponse(end)
        answer.begin()
        problem = json.loads(answer.read())
    assert answer.status == 413
    assert "over 32 MB" in problem["error"]["message"]
    assert problem.get("type") == ("error" if path == "/messages" else None)
    assert lane.calls == ()


def test_a_client_is_told_so_after_it_has_sent_all_of_it(gateway: Gateway) -> None:
    lane = lane_of(gateway)
    answer = ask(lane, room.LARGEST_BODY + 1000)
    assert (answer.status_code, lane.room.held) == (413, 0)
    assert ask(lane, 20_000_000).status_code == 200


def test_a_body_without_a_length_is_counted_as_it_comes(gateway: Gateway) -> None:
    lane = lane_of(gateway)
    lane.room.largest = 5000

    def pieces() -> Iterator[bytes]:
        for _ in range(10):
            yield b" " * 1000

    answer = httpx.post(
        f"{lane.base_url('127.0.0.1')}/chat/completions",
        content=pieces(),
        headers={"x-api-key": lane.token},
    )
    assert (answer.status_code, lane.room.held) == (413, 0)


def test_unfinished_bodies_of_a_lane_have_a_bound(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "OF_LANE", 1000)
    lane, other = lane_of(gateway), lane_of(gateway)
    with unfinished(lane, 900):
        eventually(lambda: lane.room.held == 900)
        answer = ask(lane, 500)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert "over 0 MB together" in answer.json()["error"]["message"]
        assert ask(other, 500).status_code == 200
    eventually(lambda: lane.room.held == 0)  # its client has gone
    assert ask(lane, 500).status_code == 200
    assert lane.calls[-1].status == 200


def test_a_body_beyond_the_bound_is_refused_though_it_states_less(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two bodies that fit one by one do not grow to more than there is."""
    monkeypatch.setattr(room, "OF_LANE", 1000)
    lane = lane_of(gateway)
    with unfinished(lane, 0, stated=900) as first, unfinished(lane, 0, stated=900) as second:
        eventually(lambda: lane.room.requests == 2)
        first.sendall(b" " * 600)
        eventually(lambda: lane.room.held == 600)
        second.sendall(b" " * 600)
        assert b" 429 " in second.recv(65536).partition(b"\r\n")[0]
        assert lane.room.held <= 1000


def test_what_others_hold_is_not_missing(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """All lanes together have a bound; a request of usual size gets through all the same."""
    monkeypatch.setattr(room, "OF_ALL", 1000)
    monkeypatch.setattr(room, "RESERVED", 300)
    hostile, honest = lane_of(gateway), lane_of(gateway)
    with unfinished(hostile, 900):
        eventually(lambda: hostile.room.held == 900)
        answer = ask(honest, 500)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert ask(honest, 250).status_code == 200
    eventually(lambda: hostile.room.held == 0)
    assert ask(honest, 500).status_code == 200


def test_a_lane_has_so_many_requests_at_once(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "AT_ONCE", 1)
    lane, other = lane_of(gateway, delay(60, say("Late.")), say("Now.")), lane_of(gateway)
    with unfinished(lane, 10):
        eventually(lambda: lane.room.requests == 1)
        answer = ask(lane)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert ask(other).status_code == 200
    eventually(lambda: lane.room.requests == 0)


def test_a_body_that_does_not_come_is_waited_for_only_so_long(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi, "_SLOWEST_BODY", 0.2)
    lane = lane_of(gateway)
    with unfinished(lane, 10) as end:
        assert b" 408 " in end.recv(65536).partition(b"\r\n")[0]
    assert lane.room.held == 0


@pytest.mark.parametrize("way", ["answered", "refused", "not let in", "no client"])
def test_room_is_given_back(gateway: Gateway, way: str) -> None:
    lane = lane_of(gateway, *([delay(60, say("Late."))] if way == "no client" else []))
    match way:
        case "answered":
            assert ask(lane, 9000).status_code == 200
        case "refused":
            url = f"{lane.base_url('127.0.0.1')}/chat/completions"
            answer = httpx.post(url, content=b"[" * 9000, headers={"x-api-key": lane.token})
            assert answer.status_code == 400
        case "not let in":
            assert ask(lane, 9000, "/files").status_code == 404
        case "no client":
            content = json.dumps({"model": "m", "messages": MESSAGES}).encode()
            with unfinished(lane, 0, stated=len(content)) as end:
                end.sendall(content)
                eventually(lambda: len(lane.calls) == 1)
                assert lane.room.held == len(content)
    eventually(lambda: (lane.room.held, lane.room.requests, gateway._room.held) == (0, 0, 0))


def test_thirty_bodies_without_an_end_take_the_memory_of_a_lane(gateway: Gateway) -> None:
    """As many as an attacker likes: what is over the lane's bound is refused."""
    lane = lane_of(gateway)
    size = 4_000_000
    with contextlib.ExitStack() as clients:
        for _ in range(30):
            clients.enter_context(unfinished(lane, size))
        eventually(lambda: lane.room.held > room.OF_LANE - 2 * size)
        assert lane.room.held <= room.OF_LANE
    eventually(lambda: gateway._room.held == 0)


def test_a_service_has_bounds_too(gateway: Gateway) -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        await PlainTextResponse(str(len(body)))(scope, receive, send)

    token = gateway.open_service(echo)

    def send(size: int) -> httpx.Response:
        return httpx.post(
            f"http://127.0.0.1:{gateway.port}/x",
            content=b" " * size,
            headers={"Authorization": f"Bearer {token}"},
        )

    assert send(room.SERVICE_BODY).text == str(room.SERVICE_BODY)
    assert send(room.SERVICE_BODY + 1).status_code == 413
    assert gateway._room.held == 0
