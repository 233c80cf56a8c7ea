"""What the cluster has told of a pod: its events."""

from __future__ import annotations

from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.errors import SandboxError

_MOST = 8
# What is told of every pod.
_USUAL = ("Scheduled", "Pulled", "Created", "Started", "MissingClusterDNS")
# Events of autoscalers that are about to bring a node.
_NODE_COMES = ("TriggeredScaleUp", "Nominated")


def told(cluster: Cluster, pod: str) -> str:
    """Return a pod's last events as lines, to follow a message; empty where there are none."""
    lines = [
        f"  {reason}: {message}"
        for reason, message in _events(cluster, pod)
        if reason not in _USUAL
    ][-_MOST:]
    return "\n".join(["", "Its events:", *lines]) if lines else ""


def awaits_node(cluster: Cluster, pod: str) -> bool:
    """Tell whether a node is on its way for a pod that fits none."""
    return any(reason in _NODE_COMES for reason, _ in _events(cluster, pod))


def _events(cluster: Cluster, pod: str) -> list[tuple[str, str]]:
    try:
        found = cluster.get(
            cluster.path("events"), fieldSelector=f"involvedObject.name={pod}", limit="50"
        )
    except SandboxError:
        return []
    items = sorted(found["items"], key=lambda one: one.get("lastTimestamp") or "")
    return [(str(one.get("reason")), str(one.get("message", "")).strip()) for one in items]
