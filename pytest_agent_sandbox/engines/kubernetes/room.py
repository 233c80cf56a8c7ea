"""Room in a cluster: where it is used up by the run's own sandboxes, it is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pytest_agent_sandbox.engines.kubernetes import pod_events, pod_state
from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.refusals import ClusterRefusedError
from pytest_agent_sandbox.errors import SandboxError

_QUOTA = "exceeded quota"
_PAUSE = 1.0
# Seconds for which a node may be looked for, where nothing says that one will come.
_GRACE = 8.0


class Room:
    """What is left for a run's sandboxes, some of which are other processes'.

    Args:
        cluster: The cluster.
        selector: The label by which the run's sandboxes are found.
    """

    def __init__(self, cluster: Cluster, selector: str) -> None:
        self._cluster = cluster
        self._selector = selector
        self._comes_until: dict[str, float] = {}

    def will_come(self, name: str = "") -> bool:
        """Tell whether sandboxes of this run, other than one, will end and leave room.

        Args:
            name: The pod that lacks room.
        """
        try:
            found = self._cluster.get(self._cluster.path("pods"), labelSelector=self._selector)
        except SandboxError:
            return False
        return any(
            pod["metadata"]["name"] != name and pod["status"].get("phase") == "Running"
            for pod in found["items"]
        )

    def why_none(self, pod: dict[str, Any], waited: float) -> str:
        """Return why no node takes a pod, where waiting does not help; empty while it may.

        Args:
            pod: The pod.
            waited: Seconds since its creation.
        """
        reason = pod_state.is_unschedulable(pod)
        name = pod["metadata"]["name"]
        if not reason or waited < max(_GRACE, self._comes_until.get(name, 0.0)):
            return ""
        if self.will_come(name) or pod_events.awaits_node(self._cluster, name):
            self._comes_until[name] = waited + _GRACE
            return ""
        return (
            f"no node takes it: {reason.rstrip('.')}. Lower --sandbox-memory or --sandbox-cpus, "
            "start fewer at once (--sandbox-pool-size, -n), add nodes, or have "
            "--sandbox-pod-template choose others"
        )

    def wait_for(
        self, create: Callable[[], object], timeout: float, check: Callable[[], None]
    ) -> None:
        """Create something, once the quota has room for it.

        Args:
            create: Creates it.
            timeout: Seconds that room may take to come.
            check: Called while waiting; what it raises ends that.

        Raises:
            ClusterRefusedError: The cluster refuses, and nothing of this run leaves room.
        """
        until = time.monotonic() + timeout
        while not self._is_created(create, time.monotonic() > until):
            check()
            time.sleep(_PAUSE)

    def _is_created(self, create: Callable[[], object], is_last: bool) -> bool:
        try:
            create()
        except ClusterRefusedError as error:
            if is_last or _QUOTA not in str(error) or not self.will_come():
                raise
            return False
        return True
