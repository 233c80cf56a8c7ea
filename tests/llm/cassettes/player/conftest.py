"""Tests of a file share a gateway, and one for their providers: to close one takes 0.2 s."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest

from pytest_agent_sandbox.llm.gateway import Gateway
from tests.llm.sockets import open_sockets
from tests.support.timing import eventually

from .studio import Studio


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cassettes" / "test_x" / "test_y.json"


@pytest.fixture(scope="module", autouse=True)
def nothing_left() -> Iterator[None]:
    threads, sockets = set(threading.enumerate()), open_sockets()
    yield
    eventually(lambda: set(threading.enumerate()) <= threads and open_sockets() <= sockets)


@pytest.fixture(scope="module")
def gateway(nothing_left: None) -> Iterator[Gateway]:
    with Gateway() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def providers(nothing_left: None) -> Iterator[Gateway]:
    with Gateway() as gateway:
        yield gateway


@pytest.fixture
def studio(gateway: Gateway, providers: Gateway, connect: Callable[..., openai.OpenAI]) -> Studio:
    return Studio(gateway, providers, connect)
