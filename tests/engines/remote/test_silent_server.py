"""A server that is to be used, and never answers to the end."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from pytest_agent_sandbox.engines.engine import EngineContext, SandboxRequest
from pytest_agent_sandbox.engines.remote.engine import RemoteEngine
from pytest_agent_sandbox.errors import CommandTimeout, SandboxStartFailed, ServerError
from pytest_agent_sandbox.settings.table import SandboxSettings
from tests.support.slow_server import SlowServer

TIMEOUT = 0.5


@pytest.mark.parametrize("how", ["silent", "header drips", "100 Continue"])
@pytest.mark.parametrize("well", [0, 1, 2, 3])
def test_the_time_to_start_is_all_that_it_takes(how: str, well: int) -> None:
    with SlowServer() as server:
        server.how, server.well = how, well
        settings = replace(SandboxSettings(), url=server.host, start_timeout=TIMEOUT)
        engine = RemoteEngine(EngineContext(settings=settings, run="1"), {})
        began = time.monotonic()
        engine.header()
        assert time.monotonic() - began < TIMEOUT + 1
        server.well = well
        began = time.monotonic()
        with pytest.raises((SandboxStartFailed, ServerError, CommandTimeout)):
            engine.start(SandboxRequest(settings=settings))
        assert time.monotonic() - began < TIMEOUT + 1
        engine.close()
