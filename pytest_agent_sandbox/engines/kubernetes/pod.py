"""One pod with a sandbox: created, watched, reached, and deleted without a trace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from pytest_agent_sandbox.engines.kubernetes import pod_events, pod_requests, pod_state
from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.deny_all import DenyAll, NotCutError
from pytest_agent_sandbox.engines.kubernetes.exec_program import ExecProgram
from pytest_agent_sandbox.engines.kubernetes.labels import KEPT, TEST_ANNOTATION
from pytest_agent_sandbox.engines.kubernetes.pod_log import PodLog
from pytest_agent_sandbox.engines.kubernetes.pod_state import SERVER, End, end_facts_of
from pytest_agent_sandbox.engines.kubernetes.pod_watch import PodWatch
from pytest_agent_sandbox.engines.kubernetes.room import Room
from pytest_agent_sandbox.errors import SandboxDied, SandboxError, SandboxStartFailed
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.host.log_file import LogFile
from pytest_agent_sandbox.host.multiplexer import Connect, Inside
from pytest_agent_sandbox.host.tunnel import Tunnel

logger = seldom.logger(__name__)

# Seconds in which the cluster notices that something has ended.
_END_GRACE = 2.0
_POLL = 0.02
# Seconds for the events of a pod that has ended to be told.
_EVENTS_PATIENCE = 2.0
# Seconds for the last of a log to come.
_LOG_PATIENCE = 2.0


class Pod(Closing):
    """A pod whose container `server` runs a sandbox: what `RunningContainer` is on a cluster.

    Make one with `Pod.start`. Safe to use from several threads.

    Attributes:
        ports: Its server's ports, by those of 127.0.0.1 here on which they are reached.
    """

    is_paused = False

    def __init__(
        self,
        cluster: Cluster,
        watch: PodWatch,
        room: Room,
        manifest: Mapping[str, Any],
        log: LogFile,
    ) -> None:
        self.ports: dict[int, int] = {}
        self.is_kept = False
        self.node = ""
        self._name: str = manifest["metadata"]["name"]
        self._manifest = manifest
        self._cluster = cluster
        self._watch = watch
        self._room = room
        self._log_file = log
        self._log: PodLog | None = None
        self._tunnel: Tunnel | None = None
        self._policy: DenyAll | None = None
        self._changed = threading.Condition()
        self._pod: dict[str, Any] | None = None
        self._over = threading.Event()
        self._end: End | None = None
        self._events = ""
        self._has_events = threading.Event()
        self._is_let_go = False
        self._remove_lock = threading.Lock()
        self._is_removed = False

    @classmethod
    def start(
        cls,
        cluster: Cluster,
        watch: PodWatch,
        room: Room,
        manifest: Mapping[str, Any],
        *,
        log_path: Path,
        clean: Callable[[str], str] | None,
        outwards: Mapping[Inside, Connect],
        ports: Sequence[int],
        is_isolated: bool,
        policy: DenyAll | None = None,
        is_nobody: bool,
        timeout: float,
        check: Callable[[], None],
    ) -> Pod:
        """Create a pod and wait until it runs and can be reached; whatever fails, none is left.

        Args:
            cluster: Where.
            watch: Tells what becomes of it.
            room: Tells whether room for it will come.
            manifest: What it is to be.
            log_path: The file that its output goes to.
            clean: Given each line before it is written.
            outwards: Addresses of its loopback, and what makes a connection for who connects.
            ports: The ports in it that are to be reached.
            is_isolated: Whether it is to have no network but that.
            policy: What isolates it, where it has a network nonetheless.
            is_nobody: Whether nobody has asked for it yet: it does not wait for room.
            timeout: Seconds until it has to run.
            check: Called while waiting; what it raises ends that.

        Raises:
            NotCutError: Its network cannot be taken away.
            SandboxStartFailed: It does not start, or is not as isolated as it is to be.
            ClusterRefusedError: The cluster refuses to make it.
            EngineUnavailable: The cluster does not answer.
            NoRoomAheadError: There is no room now, and nobody has asked for it.
        """
        pod = cls(cluster, watch, room, manifest, LogFile(log_path, clean))
        began = time.monotonic()
        try:
            watch.listen(pod.name, pod._notice)
            create = partial(pod_requests.create_pod, cluster, manifest)
            with room.start_of(pod.name):
                room.wait_for(pod.name, create, timeout, check, is_nobody=is_nobody)
                left = timeout - (time.monotonic() - began)
                pod._wait_until_running(left, check, is_nobody=is_nobody)
            if policy is not None:
                policy.try_out(pod)
                pod._policy = policy
            pod._log = PodLog(cluster, pod.name, SERVER, pod._log_file, pod._over.is_set)
            pod._tunnel = Tunnel(
                pod,
                dict.fromkeys(ports),
                outwards,
                pod._cut_off,
                is_isolated=is_isolated and policy is None,
                is_resumed=True,
            )
            pod.ports = pod._tunnel.ports
        except BaseException as error:
            is_told = isinstance(error, NotCutError)
            if isinstance(error, SandboxStartFailed) and not is_told and pod._over.wait(_END_GRACE):
                error = SandboxStartFailed(f"While starting: {pod._death()}", log=pod.log_tail())
            with suppress(SandboxError):
                pod.remove()
            raise error from None
        return pod

    @property
    def is_tried(self) -> bool:
        """Whether a policy isolates it, which was tried from inside."""
        return self._policy is not None

    @property
    def name(self) -> str:
        """Its name, unique in the namespace."""
        return self._name

    @property
    def image(self) -> str:
        """The name of its image."""
        return next(
            str(one["image"])
            for one in self._manifest["spec"]["containers"]
            if one["name"] == SERVER
        )

    @property
    def status(self) -> dict[str, Any]:
        """The pod as the cluster has told of it last; empty before, and once it is gone."""
        return self._pod or {}

    @property
    def log_path(self) -> Path:
        """The file that its output goes to."""
        return self._log_file.path

    def start_program(
        self,
        title: str,
        modules: Sequence[ModuleType],
        arguments: Sequence[object] = (),
        *,
        patience: float,
        user: str = "0",
    ) -> ExecProgram:
        """Start a program in it, of root; see `RunningContainer`."""
        assert user == "0"  # a stream into a pod has no user but the container's
        return ExecProgram(
            self._cluster, self.name, SERVER, title, modules, arguments, patience=patience
        )

    @property
    def unheard(self) -> Mapping[Inside, str]:
        """Why nothing listens, by the addresses outwards where that could not be."""
        return self._tunnel.unheard if self._tunnel is not None else {}

    def check(self) -> None:
        """Raise if it is gone; asks nobody.

        Raises:
            SandboxDied: It is.
        """
        if self._is_let_go:
            raise SandboxDied(f"Pod {self.name} was deleted when its use was over.")
        if self._end is not None:
            raise SandboxDied(
                self._death(),
                exit_code=self._end.exit_code,
                out_of_memory=self._end.out_of_memory,
                log=self.log_tail(),
            )

    def end_facts(self) -> dict[str, Any]:
        """Return what a report says of it at the end of a test; asks nobody."""
        return end_facts_of(self.status, self._end)

    def wait_for_end(self, timeout: float) -> bool:
        """Sleep until it is over or the seconds are; tell whether it is over."""
        return self._over.wait(timeout)

    def log_tail(self, lines: int = 50) -> str:
        """Return the last lines that its server printed."""
        return self._log_file.tail(lines)

    def rename(self, prefix: str) -> None:
        """Do nothing: a pod's name stays; see `tell_test`."""

    def tell_test(self, test: str) -> None:
        """Have it say for which test it is."""
        change = {"metadata": {"annotations": {TEST_ANNOTATION: test}}}
        pod_requests.change_pod(self._cluster, self.name, change)

    def move_log(self, path: Path, clean: Callable[[str], str] | None, *, with_past: bool) -> None:
        """Have its output go to another file from now on."""
        self._log_file.move(path, clean, with_past=with_past)

    def unpause(self) -> None:
        """Do nothing: a pod cannot be paused."""

    def let_go(self) -> None:
        """End its log and all use of it, at once; `remove` is still to be called."""
        self._is_let_go = True
        self._watch.forget(self.name)
        if self._log is not None:
            if self._end is not None:
                self._log.drain(_LOG_PATIENCE)
            self._log.close()
        else:
            self._log_file.close()
        if self._tunnel is not None:
            self._tunnel.close()
        self._over.set()

    def remove(self) -> None:
        """Kill and delete it, at once; a second call does nothing.

        Raises:
            SandboxError: The cluster refuses, or does not answer.
        """
        with self._remove_lock:
            if self._is_removed:
                return
            # Its end is no news then, of which the cluster need not be asked.
            self._is_let_go = True
            try:
                pod_requests.delete_pod(self._cluster, self.name)
                self._is_removed = True
            finally:
                self.let_go()

    def keep(self) -> None:
        """Let go of it: it stays in the cluster until somebody prunes it.

        Raises:
            SandboxError: The cluster refuses, or does not answer; `remove` is still to be called.
        """
        with self._remove_lock:
            if self._is_removed:
                return
            if self._policy is not None:
                self._policy.outlive(self)
            # Without an owner, nothing deletes it with the run.
            change = {"metadata": {"labels": {KEPT: "true"}, "ownerReferences": None}}
            pod_requests.change_pod(self._cluster, self.name, change)
            self._is_removed = self.is_kept = True
            self.let_go()

    def close(self) -> None:
        """Delete it."""
        self.remove()

    def __repr__(self) -> str:
        return f"<Pod {self.name} of {self.image}>"

    def _notice(self, pod: dict[str, Any] | None) -> None:
        """Take note of what the cluster tells, in the watch's thread."""
        with self._changed:
            if pod is not None:
                self._pod = pod
            end = pod_state.end_of(pod)
            if end is not None and not self._is_let_go:
                self._declare(end)
            self._changed.notify_all()

    def _cut_off(self, reason: str) -> None:
        """Take note that nobody reaches it any more, unless it has ended."""
        until = time.monotonic() + _END_GRACE
        while not (self._is_let_go or self._over.wait(_POLL)):
            if time.monotonic() > until:  # the pod itself has not ended
                with self._changed:
                    self._declare(End(f"is out of reach: {reason}"))

    def _declare(self, end: End) -> None:
        """Say how it has ended, unless that is known; its events are asked for by the way."""
        if self._end is None:
            self._end = end
            self._over.set()
            threading.Thread(target=self._ask_for_events, daemon=True).start()

    def _ask_for_events(self) -> None:
        try:
            self._events = pod_events.told(self._cluster, self.name)
        finally:
            self._has_events.set()

    def _death(self) -> str:
        assert self._end is not None
        self._has_events.wait(_EVENTS_PATIENCE)
        return f"Pod {self.name} of {self.image} {self._end.message}.{self._events}"

    def _wait_until_running(
        self, timeout: float, check: Callable[[], None], *, is_nobody: bool
    ) -> None:
        began = time.monotonic()
        while True:
            with self._changed:
                self._changed.wait(0.1)
                pod = self._pod
            check()
            uncut = pod_state.why_not_cut(pod)
            if uncut:
                raise NotCutError(f"{uncut}.{pod_events.told(self._cluster, self.name)}")
            if self._end is not None:
                self._log_file.write(pod_requests.last_log(self._cluster, self.name))
                self._log_file.flush()
                raise SandboxStartFailed(f"While starting: {self._death()}", log=self.log_tail())
            waited = time.monotonic() - began
            problem = self._problem(pod, waited, timeout, is_nobody=is_nobody)
            if problem:
                told = pod_events.told(self._cluster, self.name)
                raise SandboxStartFailed(f"Pod {self.name} does not start: {problem}.{told}")
            if pod is not None and pod_state.is_running(pod):
                self.node = pod["spec"].get("nodeName", "")
                return

    def _problem(
        self, pod: dict[str, Any] | None, waited: float, timeout: float, *, is_nobody: bool
    ) -> str:
        if pod is not None:
            hopeless = pod_state.hopeless_start(pod)
            if hopeless:
                return hopeless
            no_room = self._room.why_none(pod, waited, is_nobody=is_nobody)
            if no_room:
                return no_room
        if waited > timeout:
            return f"it does not run after {waited:.0f} s (--sandbox-start-timeout)"
        return ""
