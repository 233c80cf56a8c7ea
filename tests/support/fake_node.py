"""A node of a real cluster on which nothing runs: a loop says of its pods that they do."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.credentials import Credentials
from pytest_agent_sandbox.engines.kubernetes.refusals import ClusterRefusedError
from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host.closing import Closing

_MERGE = "application/merge-patch+json"
# Seconds between two signs of life: a node without any is given up after 40.
_BEAT = 10.0


class FakeNode(Closing):
    """A node object without a kubelet, for pods that choose it by `placement`.

    Args:
        credentials: Of an administrator of the cluster.
        name: Its name.
        most: How many pods it takes.

    Attributes:
        placement: What the spec of a pod has to have to be put there.
        events: How many changes of its pods were seen.
    """

    def __init__(self, credentials: Credentials, name: str, most: int = 2000) -> None:
        self.name = name
        self.events = 0
        self.placement: dict[str, Any] = {
            "nodeSelector": {"kubernetes.io/hostname": name},
            "tolerations": [{"operator": "Exists"}],
        }
        self._cluster = Cluster(credentials)
        self._resources = {"cpu": "100k", "memory": "100Ti", "pods": str(most)}
        self._closing = threading.Event()
        self._answer: Any = None
        taint = {"key": "agent-sandbox-fake", "value": "true", "effect": "NoSchedule"}
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": {"taints": [taint]},
        }
        self._cluster.request("POST", "/api/v1/nodes", "create a node", body=node)
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._live, self._run_pods)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Removes it."""
        self._closing.set()
        answer = self._answer
        if answer is not None:
            with suppress(Exception):  # it ends by itself at the same time
                answer.extensions["network_stream"].get_extra_info("socket").shutdown(2)
        for thread in self._threads:
            thread.join(10)
        with self._cluster:
            path = f"/api/v1/nodes/{self.name}"
            self._cluster.request("DELETE", path, "delete a node")

    def _live(self) -> None:
        while True:
            now = _now()
            ready = {
                "type": "Ready",
                "status": "True",
                "reason": "Fake",
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }
            status = {
                "capacity": self._resources,
                "allocatable": self._resources,
                "conditions": [ready],
            }
            with suppress(SandboxError):
                self._change(f"/api/v1/nodes/{self.name}/status", {"status": status})
            if self._closing.wait(_BEAT):
                return

    def _run_pods(self) -> None:
        while not self._closing.is_set():
            query = {
                "watch": "true",
                "fieldSelector": f"spec.nodeName={self.name}",
                "timeoutSeconds": "240",
            }
            path = "/api/v1/pods"
            try:
                with self._cluster.reading(path, "watch pods", query, silence=300) as answer:
                    self._answer = answer
                    for line in answer.iter_lines():
                        self.events += 1
                        event = json.loads(line)
                        if event["type"] in ("ADDED", "MODIFIED"):
                            self._run(event["object"])
            except (SandboxError, OSError, ValueError):  # it was cut off, within a line too
                time.sleep(0.2)

    def _run(self, pod: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        try:
            if metadata.get("deletionTimestamp"):  # as a kubelet confirms it
                self._cluster.request("DELETE", path, "end a pod", body={"gracePeriodSeconds": 0})
            elif pod["status"].get("phase") == "Pending":
                self._change(f"{path}/status", {"status": _running(pod)})
        except ClusterRefusedError:  # it is gone
            return

    def _change(self, path: str, change: dict[str, Any]) -> None:
        self._cluster.request("PATCH", path, "change a status", body=change, kind=_MERGE)


def _running(pod: dict[str, Any]) -> dict[str, Any]:
    now = _now()
    return {
        "phase": "Running",
        "podIP": "192.0.2.1",
        "startTime": now,
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": now}
            for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        ],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "sha256:none",
                "containerID": "fake://none",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }
            for container in pod["spec"]["containers"]
        ],
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
