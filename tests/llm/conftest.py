from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import anthropic
import openai
import pytest

from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane

from .sockets import open_sockets
from .upstream import Upstream


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Every test ends with the threads and sockets that it began with."""
    threads, sockets = set(threading.enumerate()), open_sockets()
    yield
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        left = [thread for thread in threading.enumerate() if thread not in threads]
        if not left and open_sockets() <= sockets:
            return
        time.sleep(0.02)
    assert not left
    assert open_sockets() <= sockets


@pytest.fixture
def gateway(nothing_left: None) -> Iterator[Gateway]:
    with Gateway() as gateway:
        yield gateway


@pytest.fixture
def connect(nothing_left: None) -> Iterator[Callable[..., openai.OpenAI]]:
    """Makes OpenAI's own client for a lane; it does not retry unless told to."""
    with contextlib.ExitStack() as clients:

        def make(lane: Lane, **settings: object) -> openai.OpenAI:
            settings = {"max_retries": 0, "timeout": 20, "api_key": lane.token} | settings
            client = openai.OpenAI(base_url=lane.base_url("127.0.0.1"), **settings)  # type: ignore[arg-type]
            return clients.enter_context(client)

        yield make


@pytest.fixture
def connect_anthropic(nothing_left: None) -> Iterator[Callable[..., anthropic.Anthropic]]:
    """Makes Anthropic's own client for a lane; it does not retry unless told to."""
    with contextlib.ExitStack() as clients:

        def make(lane: Lane, **settings: object) -> anthropic.Anthropic:
            settings = {"max_retries": 0, "timeout": 20, "api_key": lane.token} | settings
            url = lane.base_url("127.0.0.1", "anthropic/x")
            client = anthropic.Anthropic(base_url=url, **settings)  # type: ignore[arg-type]
            return clients.enter_context(client)

        yield make


@pytest.fixture
def upstream(nothing_left: None) -> Iterator[Upstream]:
    with Upstream() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
