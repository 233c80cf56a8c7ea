"""The lookup of a server's name has the caller's time, like all else."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pytest_agent_sandbox.client.event_log import EventLog
from pytest_agent_sandbox.client.lookups import addresses_of
from pytest_agent_sandbox.client.stream import EventStream
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import SandboxDied, ServerError
from tests.support.slow_server import SlowServer, full_listener
from tests.support.timing import eventually, measured

NAME = "hangs.example"


class Resolver:
    """The system's lookup, which does not answer, or with the addresses that a test wants."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = threading.Event()
        self.found = ["127.0.0.1"]

    def __call__(self, host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        self.asked.append(host)
        assert self.answers.wait(20)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in self.found]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver()
    system = socket.getaddrinfo

    def look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        return (resolver if host == NAME else system)(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield resolver
    resolver.answers.set()
    eventually(lambda: not lookups())


def lookups() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "name-lookup"]


@pytest.mark.usefixtures("resolver")
def test_a_lookup_without_end_puts_off_no_deadline() -> None:
    with (
        ServerConnection(f"http://{NAME}:1") as connection,
        measured(at_most=1.0),
        pytest.raises(ServerError, match=f"looking up the name '{NAME}' took over 0.3 s"),
    ):
        connection.request("GET", "/x", timeout=0.3)


@pytest.mark.usefixtures("resolver")
def test_the_guard_is_asked_while_a_name_is_looked_up() -> None:
    began = time.monotonic()

    def guard() -> None:
        if time.monotonic() > began + 0.2:
            raise SandboxDied("gone")

    with (
        ServerConnection(f"http://{NAME}:1", guard=guard) as connection,
        measured(at_most=1.0),
        pytest.raises(SandboxDied),
    ):
        connection.request("GET", "/x", timeout=5)


def test_many_who_wait_for_one_name_hold_one_thread(resolver: Resolver) -> None:
    def ask(number: int) -> str:
        with contextlib.suppress(TimeoutError):
            addresses_of(NAME, 1, time.monotonic() + 0.3, lambda: None)
        return str(number)

    with ThreadPoolExecutor(20) as pool:
        assert len(list(pool.map(ask, range(40)))) == 40
    assert len(lookups()) == 1
    assert resolver.asked == [NAME]


@pytest.mark.usefixtures("resolver")
def test_a_stream_ends_although_a_name_is_looked_up() -> None:
    with ServerConnection(f"http://{NAME}:1", version="1.58.0") as connection:
        stream = EventStream(connection, "c", EventLog(), lambda event, opening: None)
        stream.start()
        eventually(lookups)
        with measured(at_most=0.1):
            stream.close()
        eventually(lambda: not stream._thread.is_alive(), timeout=1)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%1"])
def test_an_address_is_not_looked_up(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "getaddrinfo")
    assert addresses_of(host, 1, 0.0, lambda: None) == [host]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70, "a..b"])
def test_a_name_of_no_host_is_an_error_of_the_server_s(host: str) -> None:
    with (
        ServerConnection(f"http://{host}:1") as connection,
        pytest.raises(ServerError, match="got no answer"),
    ):
        connection.request("GET", "/x", timeout=10)


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is an address of its own")
def test_an_address_that_does_not_answer_leaves_time_for_the_next(resolver: Resolver) -> None:
    resolver.found = ["127.0.0.2", "127.0.0.1"]
    resolver.answers.set()
    with SlowServer() as server:
        port = int(server.host.rpartition(":")[2])
        with (
            full_listener(("127.0.0.2", port)),
            ServerConnection(f"http://{NAME}:{port}") as connection,
        ):
            assert connection.request("GET", "/x", timeout=2).is_success


def test_where_no_thread_can_be_started_the_caller_looks_up(monkeypatch):
    """At the end of the interpreter, when what nobody has closed is stopped."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert "127.0.0.1" in addresses_of("localhost", 80, time.monotonic() + 5, lambda: None)
