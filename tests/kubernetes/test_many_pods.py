"""Many sandboxes in one process, of pods that do not run: nothing stays of those that ended."""

from __future__ import annotations

import gc
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.pod import Pod
from pytest_agent_sandbox.errors import SandboxError
from tests.support.fake_node import FakeNode
from tests.support.simulated_pods import Simulation
from tests.support.timing import eventually

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "simulated_pods.py"
_THREADS = 4


@pytest.fixture
def simulated(cluster: Cluster) -> Iterator[Simulation]:
    until = time.monotonic() + 30
    while time.monotonic() < until:  # pods need the namespace's account
        with suppress(SandboxError):
            cluster.get(cluster.path("serviceaccounts", "default"))
            break
        time.sleep(0.1)
    node = FakeNode(cluster.credentials, f"agent-sandbox-fake-{secrets.token_hex(4)}")
    with node, Simulation(cluster.credentials, node, _THREADS) as found:
        yield found


def _held() -> tuple[int, int]:
    gc.collect()
    process = psutil.Process(os.getpid())
    return process.memory_info().rss, process.num_fds()


def test_nothing_grows_with_the_pods_that_have_ended(simulated: Simulation) -> None:
    simulated.use(40)  # until all is loaded
    memory, files = _held()
    simulated.use(120)
    more, more_files = _held()
    assert more - memory < 6_000_000
    assert more_files - files < 20
    # Those that are ready for whoever comes next are there yet.
    eventually(lambda: _pods() <= 2 * _THREADS, 10)


def test_the_end_of_a_pod_that_is_deleted_here_asks_nothing(
    simulated: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(Pod, "_ask_for_events", lambda pod: asked.append(pod.name))
    simulated.use(20)
    assert asked == []


def test_the_benchmark_runs(tmp_path: Path, kubeconfig: str) -> None:
    file = tmp_path / "result.json"
    subprocess.run(
        [sys.executable, BENCHMARK, "--quick", "--json", file],
        env={**os.environ, "KUBECONFIG": kubeconfig},
        check=True,
    )
    result = json.loads(file.read_text("utf-8"))
    assert {"10 at once: memory (MB)", "10 ended: descriptors"} <= result["comparisons"].keys()
    assert len(result["milliseconds"]["a creation and its claim"]["samples"]) == 10


def _pods() -> int:
    gc.collect()
    return sum(type(one) is Pod for one in gc.get_objects())
