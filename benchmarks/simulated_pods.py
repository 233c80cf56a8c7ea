"""Simulated pods: what many sandboxes at once cost the process that has them, and the API server.

The API server is real; the node is a mere object, and a loop says of its pods that they run. So
nothing is reached in a sandbox: what is measured is their creation, the supply, the only watch, and
their end. Some threads ask for all of them, first at once, then one after the other.
KUBECONFIG names the cluster; `scripts/kube up` makes one.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from measuring import Report, Size, read_arguments

from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.credentials import read_credentials
from pytest_agent_sandbox.errors import SandboxError

sys.path.append(str(Path(__file__).parent.parent))
from tests.support.fake_node import FakeNode
from tests.support.simulated_pods import Simulation

# Sandboxes at which the process is weighed.
_STEPS = (100, 500, 1000)


@contextmanager
def namespace() -> Iterator[str]:
    """A namespace of its own."""
    name = f"benchmark-{secrets.token_hex(4)}"
    with Cluster(read_credentials(None, name)) as admin:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        admin.request("POST", "/api/v1/namespaces", f"create namespace {name}", body=body)
        until = time.monotonic() + 30
        while time.monotonic() < until:  # pods need its account
            with suppress(SandboxError):
                admin.get(admin.path("serviceaccounts", "default"))
                break
            time.sleep(0.1)
        try:
            yield name
        finally:
            admin.request("DELETE", f"/api/v1/namespaces/{name}", f"delete namespace {name}")


def weigh(report: Report, when: str) -> None:
    """Writes down what this process holds."""
    process = psutil.Process()
    report.value(f"{when}: memory (MB)", process.memory_info().rss / 1e6)
    report.value(f"{when}: descriptors", process.num_fds())
    report.value(f"{when}: threads", process.num_threads())


def main() -> None:
    arguments = read_arguments(
        __doc__,
        rounds=None,
        sandboxes=Size(1000, 10, "how many sandboxes there are"),
        threads=Size(16, 2, "how many ask for one at the same time"),
    )
    number, threads = arguments.sandboxes, arguments.threads
    steps = [*(step for step in _STEPS if step < number), number]
    with namespace() as name:
        credentials = read_credentials(None, name)
        node = FakeNode(credentials, f"agent-sandbox-fake-{secrets.token_hex(4)}")
        with node, Simulation(credentials, node, threads) as simulated:
            report = Report(
                "Simulated pods",
                cluster=simulated.cluster.description,
                sandboxes=str(number),
                threads=str(threads),
                process=str(os.getpid()),
            )
            weigh(report, "none")
            began = time.monotonic()
            for step in steps:  # at once
                report_step(report, simulated, step)
            report.value("all created and claimed (s)", time.monotonic() - began)
            began = time.monotonic()
            simulated.release_all()
            report.value("all deleted (s)", time.monotonic() - began)
            watched = simulated.watched
            report.value("watch: events of a sandbox", watched.events / number)
            report.value("watch: KB of a sandbox", watched.bytes / 1000 / number)
            report.value("watch: CPU of an event (ms)", watched.cpu * 1000 / watched.events)
            ended = 0
            for step in steps:  # one after the other, as the tests of a suite
                simulated.use(step - ended)
                ended = step
                weigh(report, f"{step} ended")
    report.finish(arguments.json)


def report_step(report: Report, simulated: Simulation, step: int) -> None:
    """Has so many sandboxes at once."""
    for seconds in simulated.hold(step):
        report.add("a creation and its claim", seconds)
    weigh(report, f"{step} at once")


if __name__ == "__main__":
    main()
