"""A plugin for the suites: after every test, what pytest's own process holds and has started."""

from __future__ import annotations

import os
import time
from functools import cache
from typing import Any

import psutil
from recording import record

from pytest_agent_sandbox.containers.cleanup import find
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.host.ownership import PID


def gauge(**more: Any) -> None:
    """Writes down what this process holds at the moment, and what else is given."""
    process = psutil.Process()
    record(
        "gauge",
        memory=process.memory_info().rss,
        threads=process.num_threads(),
        files=process.num_fds(),
        cpu=time.process_time(),
        **more,
    )


def pytest_runtest_logfinish() -> None:
    gauge(containers=sum(one.labels.get(PID) == str(os.getpid()) for one in find(_engine())))


@cache
def _engine() -> ContainerEngine:
    return ContainerEngine.connect()
