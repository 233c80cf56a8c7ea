"""Thousands of connections of one client: the process keeps its files, and others are answered."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import pytest

from pytest_agent_sandbox.llm import crowd
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.replies import delay, say
from pytest_agent_sandbox.llm.script import Script

MOST = 20
BODY = '{"model": "m", "messages": [{"role": "user", "content": "a"}]}'
POST = (
    "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Api-Key: {}\r\nContent-Length: {}\r\n\r\n"
)
GET = "GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Api-Key: {}\r\n\r\n"
#: What one of them sends before it waits for ever.
KINDS = {"silent": "", "half a request": "POST /v1/chat/completions HTTP/1.1\r\nA: ", "idle": GET}


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "most_connections", lambda: MOST)


@contextlib.contextmanager
def connected(gateway: Gateway, sent: str) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as end:
        end.sendall(sent.encode())
        yield end


def ask(gateway: Gateway, lane: Lane) -> bytes:
    with connected(gateway, GET.format(lane.token)) as end:
        return end.recv(1000)


@pytest.mark.parametrize("kind", KINDS)
def test_many_connections_take_no_more_than_some_files(gateway: Gateway, kind: str) -> None:
    bad, good = gateway.open_lane(Script([])), gateway.open_lane(Script([delay(1, say("Late."))]))
    files = psutil.Process().num_fds() if hasattr(psutil.Process, "num_fds") else 0
    with (
        contextlib.ExitStack() as crowded,
        connected(gateway, POST.format(good.token, len(BODY)) + BODY) as waiting,
    ):
        time.sleep(0.1)
        for _ in range(300):
            crowded.enter_context(connected(gateway, KINDS[kind].format(bad.token)))
        assert b" 200 OK" in ask(gateway, good)
        assert b" 200 OK" in waiting.recv(1000), "the one that waits for an answer gets it"
        deadline = time.monotonic() + 5
        while len(_servers_ends(gateway)) > MOST and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(_servers_ends(gateway)) <= MOST
        if files:
            assert psutil.Process().num_fds() < files + 300 + 3 * MOST


def _servers_ends(gateway: Gateway) -> list[object]:
    return [
        each
        for each in psutil.Process().net_connections("tcp")
        if each.laddr and each.laddr.port == gateway.port and each.status == "ESTABLISHED"
    ]


@dataclass
class Guest:
    client: tuple[str, int] | None
    since: float
    is_idle: bool = True


def test_the_one_to_close_is_of_the_client_that_has_most() -> None:
    many = [Guest(("10.0.0.1", port), 10 + port) for port in range(5)]
    few = [Guest(("10.0.0.2", port), port) for port in range(3)]
    assert crowd.superfluous([*few, *many]) is many[0]
    many[0].is_idle = False
    assert crowd.superfluous([*few, *many]) is many[1]
    assert crowd.superfluous([Guest(None, 1, is_idle=False)]) is None


@pytest.mark.parametrize(("files", "most"), [(256, 64), (1024, 256), (1 << 20, 1000)])
def test_their_number_is_a_part_of_the_files(
    monkeypatch: pytest.MonkeyPatch, files: int, most: int
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(crowd, "_files", lambda: files)
    assert crowd.most_connections() == most
