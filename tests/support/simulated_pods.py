"""Sandboxes in a cluster as far as they can be had of pods that do not run."""

from __future__ import annotations

import json
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

from pytest_agent_sandbox.containers.accounts import Account
from pytest_agent_sandbox.engines.engine import EngineContext, SandboxRequest
from pytest_agent_sandbox.engines.kubernetes import pod as pod_module
from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.credentials import Credentials
from pytest_agent_sandbox.engines.kubernetes.labels import MANAGED, MANAGER, PROCESS, RUN, SANDBOX
from pytest_agent_sandbox.engines.kubernetes.plan import PodPlan, plan_pod
from pytest_agent_sandbox.engines.kubernetes.pod import Pod
from pytest_agent_sandbox.engines.kubernetes.pod_image import PodImage
from pytest_agent_sandbox.engines.kubernetes.pod_watch import PodWatch
from pytest_agent_sandbox.engines.kubernetes.room import Room
from pytest_agent_sandbox.engines.kubernetes.start import PodStarter
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.host.log_file import LogFile
from pytest_agent_sandbox.sandbox.network import WayToGateway
from pytest_agent_sandbox.sandbox.sandbox import Sandbox, User
from pytest_agent_sandbox.sandbox.server_process import MODULE, OUR_PYTHON, server_of
from pytest_agent_sandbox.sandbox.supply import SandboxSupply
from pytest_agent_sandbox.settings.table import SandboxSettings
from tests.support.fake_node import FakeNode

_IMAGE = PodImage(
    "nobody/has-this:1", Account(1, 1, "/"), server_of((OUR_PYTHON, "-m", MODULE)), "1", ""
)


@dataclass
class Watched:
    """What a watch has brought."""

    events: int = 0
    bytes: int = 0
    cpu: float = 0.0


class _NoTunnel(Closing):
    """In the place of the way into a pod."""

    def __init__(self, *_: object, **__: object) -> None:
        self.ports: dict[int, int] = {8000: 1}

    def close(self) -> None: ...


class _NoLog(Closing):
    """In the place of what follows a pod's log; the file is there, and stays empty."""

    def __init__(
        self, _: Cluster, __: str, ___: str, file: LogFile, is_over: Callable[[], bool]
    ) -> None:
        del is_over
        self._file = file

    def drain(self, _: float) -> None: ...

    def close(self) -> None:
        self._file.close()


def _begin(*_: object, **__: object) -> None:
    """Does nothing: no server is there to begin."""


class _CountingWatch(PodWatch):
    """A watch that knows what it has brought."""

    def __init__(self, cluster: Cluster, selector: str) -> None:
        self.watched = Watched()
        super().__init__(cluster, selector)

    def _tell(self, pod: dict[str, Any]) -> None:
        self.watched.bytes += len(json.dumps(pod))
        began = time.thread_time()
        super()._tell(pod)
        self.watched.cpu += time.thread_time() - began
        self.watched.events += 1


class Simulation(Closing):
    """A supply of sandboxes whose pods do not run.

    Args:
        credentials: Of the cluster.
        node: Where they are.
        threads: How many ask for one at the same time.
    """

    def __init__(self, credentials: Credentials, node: FakeNode, threads: int) -> None:
        with ExitStack() as closing:
            self.cluster = closing.enter_context(Cluster(credentials))
            labels = {
                MANAGED: MANAGER,
                RUN: "a-run",
                PROCESS: secrets.token_hex(8),
                SANDBOX: "true",
            }
            self._watch = closing.enter_context(
                _CountingWatch(self.cluster, f"{PROCESS}={labels[PROCESS]}")
            )
            settings = SandboxSettings(engine="kubernetes")
            context = EngineContext(settings=settings, run="a-run")
            allowance = closing.enter_context(context.allowance())
            room = Room(self.cluster, f"{RUN}=a-run", allowance, creations=16)
            for name, other in (("Tunnel", _NoTunnel), ("PodLog", _NoLog)):
                closing.enter_context(mock.patch.object(pod_module, name, other))
            closing.enter_context(mock.patch.object(Sandbox, "begin", _begin))
            self._plan = plan_pod(
                SandboxRequest(settings=settings, image=_IMAGE.reference),
                _IMAGE,
                WayToGateway(),
                {**node.placement, "containers": [{"name": "server", "resources": _FEW}]},
                "Never",
            )
            self._folder = Path(closing.enter_context(tempfile.TemporaryDirectory()))
            self._numbers = count()
            self._supply: SandboxSupply[PodPlan, Pod] = closing.enter_context(
                SandboxSupply(
                    PodStarter(self.cluster, self._watch, room, {"labels": labels}),
                    size=threads,
                    most_reuses=1,
                    clean_log=str,
                    allowance=allowance,
                )
            )
            self._users = closing.enter_context(ThreadPoolExecutor(threads))
            self._held: list[Sandbox[PodPlan, Pod]] = []
            self._lock = threading.Lock()
            self._closing = closing.pop_all()

    @property
    def watched(self) -> Watched:
        """What the watch has brought so far."""
        return self._watch.watched

    def hold(self, number: int) -> Iterator[float]:
        """Has so many sandboxes at once; the seconds that each has taken."""
        more = number - len(self._held)
        return iter(self._all(self._take, more))

    def release_all(self) -> None:
        """Gives all back, and waits until they are gone."""
        with self._lock:
            held, self._held = self._held, []
        list(self._users.map(lambda one: self._supply.release(one, wait=True), held))

    def use(self, number: int) -> None:
        """Has so many sandboxes, and gives each back before the next one is asked for."""

        def use() -> float:
            seconds = self._take()
            with self._lock:
                one = self._held.pop()
            self._supply.release(one, wait=True)
            return seconds

        self._all(use, number)

    def close(self) -> None:
        """Ends all."""
        self.release_all()
        self._closing.close()

    def _take(self) -> float:
        began = time.perf_counter()
        self._supply.prepare([self._plan] * 2)
        log = self._folder / f"{next(self._numbers)}.log"
        taken = self._supply.take(self._plan, User(log))
        with self._lock:
            self._held.append(taken)
        return time.perf_counter() - began

    def _all(self, work: Callable[[], float], number: int) -> list[float]:
        return list(self._users.map(lambda _: work(), range(number)))


_FEW = {"requests": {"cpu": "1m", "memory": "1Mi"}}
