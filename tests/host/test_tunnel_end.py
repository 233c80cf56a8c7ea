"""The end of a tunnel, at any time: of its own threads, without a container."""

import gc
import json
import logging
import socket
import sys
import threading
import time
import warnings
from contextlib import suppress

import pytest

from pytest_agent_sandbox.host.tunnel import Tunnel


class SilentProgram:
    """What is in the container: it takes all and sends nothing."""

    def __init__(self, *_arguments, **_options):
        self._closed = threading.Event()

    def read_line(self, _timeout):
        return json.dumps({"problems": [], "unheard": {}}).encode()

    def wait_forever(self):
        pass

    def send(self, _data):
        if self._closed.is_set():
            raise OSError("closed")

    def read(self):
        self._closed.wait()
        raise OSError("closed")

    def close(self):
        self._closed.set()


class Running:
    """A container that runs."""

    start_program = SilentProgram


@pytest.fixture
def failures(monkeypatch):
    """What has failed in threads, and in callbacks of their loops."""
    found = []
    monkeypatch.setattr(threading, "excepthook", lambda args: found.append(args.exc_value))
    monkeypatch.setattr(
        logging.getLogger("asyncio"), "error", lambda *told, **_: found.append(told)
    )
    return found


def test_a_tunnel_is_closed_with_traffic_without_a_failure_in_its_threads(failures):
    for round_ in range(150):
        made = Tunnel(Running(), dict.fromkeys((1, 2, 3)), {}, lambda _: None)
        ends = []
        for port in list(made.ports.values()) * (round_ % 4):
            ends.append(socket.create_connection(("127.0.0.1", port)))
            ends[-1].sendall(b"x" * 100)
        until = time.monotonic() + 10
        while len(made._begun.result().ends._connections) < len(ends):
            assert time.monotonic() < until
            time.sleep(0.001)
        made.close()
        for end in ends:
            with suppress(OSError):
                end.close()
    assert failures == []
    assert not [one for one in threading.enumerate() if "agent-sandbox-tunnel" in one.name]


def test_its_sockets_stay_open_until_its_threads_have_ended(failures, monkeypatch):
    made = Tunnel(Running(), {1: None}, {}, lambda _: None)
    alive = []

    joined = made._threads[0].join

    def join(timeout=None):
        alive.extend(server.fileno() != -1 for server in made._servers.values())
        joined(timeout)

    monkeypatch.setattr(made._threads[0], "join", join)
    made._begun.result().loop.call_soon_threadsafe(lambda: threading.Event().wait(0.2))
    made.close()
    assert alive == [True]
    assert all(server.fileno() == -1 for server in made._servers.values())
    assert failures == []


@pytest.fixture
def left_open(monkeypatch):
    """What was let go of without being closed."""
    found = []
    gc.collect()
    monkeypatch.setattr(sys, "unraisablehook", lambda args: found.append(args.exc_value))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        yield found


@pytest.mark.parametrize("turns", range(5))
def test_a_connection_that_comes_in_the_moment_of_its_end_is_closed(failures, left_open, turns):
    made = Tunnel(Running(), {1: None}, {}, lambda _: None)
    loop = made._begun.result().loop
    may_go_on = threading.Event()
    in_the_loop = threading.Event()

    def hold(left):
        in_the_loop.set()
        may_go_on.wait(5)
        if left:  # so many turns of the loop, in which the connection is taken step by step
            loop.call_soon(hold, left - 1)

    loop.call_soon_threadsafe(hold, turns)
    in_the_loop.wait()
    with socket.create_connection(("127.0.0.1", made.ports[1])) as end:
        closing = threading.Thread(target=made.close)
        if turns:
            may_go_on.set()
            closing.start()
        else:
            closing.start()
            time.sleep(0.1)
            may_go_on.set()
        closing.join()
        end.settimeout(5)
        with suppress(ConnectionError):
            assert end.recv(1) == b""
    gc.collect()
    assert left_open == []
    assert failures == []


def test_many_connections_that_come_while_it_ends_are_closed(failures, left_open):
    for _ in range(100):
        made = Tunnel(Running(), {1: None}, {}, lambda _: None)
        ends = [socket.create_connection(("127.0.0.1", made.ports[1])) for _ in range(5)]
        made.close()
        for end in ends:
            end.close()
    gc.collect()
    assert left_open == []
    assert failures == []
