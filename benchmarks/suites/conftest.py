"""Writes down what every test takes, as lines of JSON, for the benchmark that runs the suite."""

from __future__ import annotations

import os
from typing import Any

import pytest
from recording import record


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # Under xdist the workers know too, but the first process hears of all tests.
    if "PYTEST_XDIST_WORKER" not in os.environ:
        record("phase", test=report.nodeid, phase=report.when, seconds=report.duration)


def pytest_generate_tests(metafunc: Any) -> None:
    if "number" in metafunc.fixturenames:
        metafunc.parametrize("number", range(int(os.environ["BENCHMARK_TESTS"])))
