"""Room in a cluster: where it is used up by the run's own sandboxes, it is waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pytest_agent_sandbox.engines.kubernetes import pod_events, pod_state
from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.refusals import ClusterRefusedError
from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host.pool import NoRoomAheadError
from pytest_agent_sandbox.sandbox.accounts_of_run import Wait
from pytest_agent_sandbox.sandbox.allowance import Allowance

_QUOTA = "exceeded quota"
_PAUSE = 1.0
# Seconds for which a cluster may count what is gone.
_GRACE_OF_QUOTA = 3.0
# Seconds for which a node may be looked for, where nothing says that one will come; and for that
# of a pod that nobody has asked for.
_GRACE, _GRACE_AHEAD = 8.0, 1.0


class Room:
    """What is left for a run's sandboxes, some of which are other processes'.

    What a test asks for is waited for, and meanwhile all processes of the run give up what they
    have started ahead. What nobody has asked for does not wait.

    Args:
        cluster: The cluster.
        selector: The label by which the run's sandboxes are found.
        allowance: Tells the run's processes who waits.
        creations: How many pods are asked for at the same time.
    """

    def __init__(
        self, cluster: Cluster, selector: str, allowance: Allowance, *, creations: int = 1
    ) -> None:
        self._cluster = cluster
        self._selector = selector
        self._allowance = allowance
        self._creations = threading.BoundedSemaphore(creations)
        self._comes_until: dict[str, float] = {}
        self._waits: dict[str, Wait] = {}

    def will_come(self, name: str = "") -> bool:
        """Tell whether sandboxes of this run, other than one, will end and leave room.

        Args:
            name: The pod that lacks room.
        """
        # Two are enough to tell, of however many.
        query = {"fieldSelector": "status.phase=Running", "limit": "2"}
        try:
            found = self._cluster.get(
                self._cluster.path("pods"), labelSelector=self._selector, **query
            )
        except SandboxError:
            return False
        return any(pod["metadata"]["name"] != name for pod in found["items"])

    def why_none(self, pod: dict[str, Any], waited: float, *, is_nobody: bool = False) -> str:
        """Return why no node takes a pod, where waiting does not help; empty while it may.

        Args:
            pod: The pod.
            waited: Seconds since its creation.
            is_nobody: Whether nobody has asked for it yet.

        Raises:
            NoRoomAheadError: Nobody has asked for it, so that it does not wait.
        """
        reason = pod_state.is_unschedulable(pod)
        name = pod["metadata"]["name"]
        if not reason:
            return ""
        if is_nobody:
            if waited > _GRACE_AHEAD:
                raise NoRoomAheadError(f"No node takes pod {name}: {reason}")
            return ""
        self._note_wait(name)
        if waited < max(_GRACE, self._comes_until.get(name, 0.0)):
            return ""
        if self.will_come(name) or pod_events.awaits_node(self._cluster, name):
            self._comes_until[name] = waited + _GRACE
            return ""
        return (
            f"no node takes it: {reason.rstrip('.')}. Lower --sandbox-memory or --sandbox-cpus, "
            "start fewer at once (--sandbox-max, --sandbox-pool-size, -n), add nodes, or have "
            "--sandbox-pod-template choose others"
        )

    @contextmanager
    def start_of(self, name: str) -> Iterator[None]:
        """Be in the start of a pod: when it is over, it waits for nothing any more."""
        try:
            yield
        finally:
            self._comes_until.pop(name, None)
            wait = self._waits.pop(name, None)
            if wait is not None:
                self._allowance.forget(wait)

    def wait_for(
        self,
        name: str,
        create: Callable[[], object],
        timeout: float,
        check: Callable[[], None],
        *,
        is_nobody: bool = False,
    ) -> None:
        """Create a pod, once the quota has room for it.

        Args:
            name: The pod's name.
            create: Creates it.
            timeout: Seconds that room may take to come.
            check: Called while waiting; what it raises ends that.
            is_nobody: Whether nobody has asked for it yet.

        Raises:
            ClusterRefusedError: The cluster refuses, and nothing of this run leaves room.
            NoRoomAheadError: Nobody has asked for it, so that it does not wait.
        """
        until = time.monotonic() + timeout
        hopeful = time.monotonic()
        while True:
            try:
                with self._creations:
                    create()
            except ClusterRefusedError as error:
                now = time.monotonic()
                if _QUOTA in str(error) and is_nobody:
                    raise NoRoomAheadError(str(error)) from None
                if self.will_come():
                    hopeful = now
                # What has left room a moment ago is counted for a little longer.
                if now > until or _QUOTA not in str(error) or now - hopeful > _GRACE_OF_QUOTA:
                    raise
            else:
                return
            self._note_wait(name)
            check()
            time.sleep(_PAUSE)

    def _note_wait(self, name: str) -> None:
        if name not in self._waits:
            self._waits[name] = self._allowance.wait_elsewhere()
