"""A test's LLM with faults; all tests of a file share a gateway, which takes 0.2 s to close."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_agent_sandbox.host.redaction import Redactor
from pytest_agent_sandbox.llm.budgets import Budget, Limits
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.prices import Prices
from pytest_agent_sandbox.plugin.agent_llm import AgentLLM
from pytest_agent_sandbox.settings.table import SandboxSettings
from tests.llm.sockets import open_sockets

from .calls import Host


@pytest.fixture(scope="module", autouse=True)
def nothing_left() -> Iterator[None]:
    """Looks at the end of all tests: they share a gateway, which takes 0.2 s to close."""
    threads, sockets = set(threading.enumerate()), open_sockets()
    yield
    deadline = time.monotonic() + 2
    while not set(threading.enumerate()) <= threads or open_sockets() > sockets:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def gateway(nothing_left: None) -> Iterator[Gateway]:
    with Gateway() as gateway:
        yield gateway


@pytest.fixture
def llm(tmp_path: Path) -> Iterator[AgentLLM]:
    with AgentLLM(
        test="test_x.py::test_y",
        cassette=tmp_path / "cassette.json",
        settings=SandboxSettings(),
        own=SandboxSettings(),
        prices=Prices(),
        run_budget=Budget("run", Limits()),
        secrets=Redactor(),
        environment={},
    ) as llm:
        yield llm


@pytest.fixture
def start(llm: AgentLLM, gateway: Gateway) -> Callable[..., Lane]:
    """A conversation with these replies, by the lane that it is led through."""

    def start(*replies: Any, name: str = "1") -> Lane:
        host: Any = Host(gateway)
        agent = {"llm": {"model": "x", "usage_id": "agent"}}
        return llm.connect(agent, host, script=replies, name=name, known={})[1]

    return start
