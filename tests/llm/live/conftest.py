"""A lane to the provider of a test; its key is in no log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.live import LiveSource

from .wire import KEY


@pytest.fixture
def lane(gateway: Gateway, upstream: Any) -> Lane:
    return gateway.open_lane(LiveSource(upstream.url, SecretStr(KEY)))


@pytest.fixture(autouse=True)
def key_stays_secret(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG, logger="pytest_agent_sandbox")
    caplog.set_level(logging.DEBUG, logger="uvicorn")
    yield
    assert KEY not in caplog.text
