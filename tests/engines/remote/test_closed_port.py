"""An address at which nothing listens: known within two seconds, and at once the next time."""

import socket
import threading
import time

import pytest

from pytest_agent_sandbox.engines.engine import EngineContext, SandboxRequest
from pytest_agent_sandbox.engines.remote.engine import RemoteEngine
from pytest_agent_sandbox.errors import SandboxStartFailed
from pytest_agent_sandbox.settings.table import SandboxSettings


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def engine_at(url):
    settings = SandboxSettings(url=url)
    return RemoteEngine(EngineContext(settings=settings, run="test"), {}), SandboxRequest(
        settings=settings
    )


def test_it_fails_in_two_seconds_and_then_at_once(port):
    engine, request = engine_at(f"http://127.0.0.1:{port}")
    with engine:
        began = time.monotonic()
        with pytest.raises(
            SandboxStartFailed, match=f"No agent server listens at .*:{port}"
        ) as told:
            engine.start(request)
        assert 1 < time.monotonic() - began < 2
        assert "--sandbox-url" in str(told.value)
        began = time.monotonic()
        with pytest.raises(SandboxStartFailed):
            engine.start(request)
        assert "No agent server listens" in engine.header()[0]
        assert time.monotonic() - began < 0.5


def test_one_that_begins_to_listen_meanwhile_is_found(port):
    engine, _ = engine_at(f"http://127.0.0.1:{port}")
    opened = []
    timer = threading.Timer(0.5, lambda: opened.append(socket.create_server(("127.0.0.1", port))))
    timer.start()
    with engine:
        engine._check_that_it_listens()
    timer.join()
    opened[0].close()
