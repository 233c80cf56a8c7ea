"""Runs one of the suites beside this file by a pytest of its own, as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from recording import FILE, recorded

_HERE = Path(__file__).parent
_SUITES = _HERE / "suites"


class TestTimes(NamedTuple):
    """Seconds of a test's phases: what it waited for, what it did, what it left to clear up."""

    setup: float
    call: float
    teardown: float


@dataclass
class SuiteRun:
    """What came of a run.

    Attributes:
        seconds: From pytest's start to its end.
        tests: What each test took, in the order in which they ended.
        gauges: What the suite has counted and weighed on its way.
    """

    seconds: float
    tests: list[TestTimes]
    gauges: list[dict[str, Any]]


def run_suite(
    name: str, *options: str, image: str, tests: int, seconds: float = 0, events: int = 0
) -> SuiteRun:
    """Runs a suite; all of its tests have to pass.

    Args:
        name: Its file, without `test_`.
        options: Further options of pytest.
        image: The sandboxes' image.
        tests: How many tests it has.
        seconds: How long its tests take on purpose.
        events: How many events its conversation is to have.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "record.jsonl")
        environment = {
            **_environment(),
            "PYTHONPATH": str(_HERE),
            FILE: str(file),
            "BENCHMARK_TESTS": str(tests),
            "BENCHMARK_SECONDS": str(seconds),
            "BENCHMARK_EVENTS": str(events),
        }
        command = [
            *(sys.executable, "-m", "pytest", "-q", f"--rootdir={_SUITES}"),
            *("-c", str(_SUITES / "pytest.ini"), str(_SUITES / f"test_{name}.py")),
            *(f"--sandbox-image={image}", f"--sandbox-output={folder}/results", *options),
        ]
        began = time.perf_counter()
        finished = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        took = time.perf_counter() - began
        if finished.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}\n{finished.stdout}")
        phases = recorded(file, "phase")
        return SuiteRun(took, _by_test(phases), recorded(file, "gauge"))


def _environment() -> dict[str, str]:
    """This process's, without what an outer pytest has put there."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTEST_") or name.startswith("PYTEST_SANDBOX_")
    }


def _by_test(phases: Sequence[dict[str, Any]]) -> list[TestTimes]:
    # Under xdist the phases of several tests come in between one another.
    order = {phase["test"]: number for number, phase in enumerate(phases)}
    grouped = groupby(
        sorted(phases, key=lambda phase: order[phase["test"]]), lambda one: one["test"]
    )
    return [
        TestTimes(**{phase["phase"]: phase["seconds"] for phase in test}) for _, test in grouped
    ]
