"""What of ours is in a cluster, whose it is, and its end."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from pytest_agent_sandbox.engines.kubernetes.access import ask
from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.keeper import delete_job
from pytest_agent_sandbox.engines.kubernetes.labels import (
    KEPT,
    MANAGED,
    MANAGER,
    PROCESS,
    RUN,
    TEST_ANNOTATION,
)
from pytest_agent_sandbox.engines.kubernetes.pod_requests import delete_pod

#: `kept` for people to look into; `alive` where the process lives that it belongs to; `dead` where
#: that has ended; `unknown` where that cannot be told.
Use = Literal["kept", "alive", "dead", "unknown"]

# How long the pod of a new keeper may take to come.
_PATIENCE = timedelta(minutes=2)
# After how long nobody waits for the pod of a keeper any more: a start has a time-out.
_LONGEST_START = timedelta(minutes=30)


@dataclass(frozen=True)
class Found:
    """A pod or a job of this package, in a cluster.

    Attributes:
        name: Its name.
        kind: What it is.
        use: Who uses it: see `Use`.
        labels: What else it tells: `run`, `process`, `test`, `started`.
    """

    name: str
    kind: Literal["pod", "job"]
    use: Use
    labels: Mapping[str, str]

    def remove(self, cluster: Cluster) -> None:
        """Delete it; fine if it is gone.

        Raises:
            SandboxError: The cluster refuses, or does not answer.
        """
        if self.kind == "pod":
            delete_pod(cluster, self.name)
        else:
            delete_job(cluster, self.name)


def find(cluster: Cluster) -> list[Found]:
    """Return all that is ours in the namespace, whoever made it: pods, then jobs, by name.

    Raises:
        SandboxError: The cluster refuses, or does not answer.
    """
    # Pods first: what has come since then is of no interest, and a pod's keeper is older than it.
    pods, _ = _list(cluster, "pods", "")
    jobs, now = _list(cluster, "jobs", "batch")
    pending = {_label(pod, "job-name") for pod in pods if _is_pending(pod)}
    keepers = {
        _label(job, PROCESS): use_of_keeper(job, now, is_pending=job["metadata"]["name"] in pending)
        for job in jobs
    }
    names = {job["metadata"]["name"] for job in jobs}
    found = [
        Found(pod["metadata"]["name"], "pod", _use_of_pod(pod, keepers), dict(_told(pod)))
        for pod in pods
        if _label(pod, "job-name") not in names  # that is the job's own
    ]
    found += [
        Found(job["metadata"]["name"], "job", keepers[_label(job, PROCESS)], dict(_told(job)))
        for job in jobs
    ]
    return sorted(found, key=lambda one: (one.kind == "job", one.name))


def prune_command(cluster: Cluster, name: str = "") -> str:
    """Return the command that deletes what is kept in a namespace, or a pod."""
    words = ["agent-sandbox", "prune", "--engine", "kubernetes"]
    if cluster.credentials.context:
        words += ["--kube-context", cluster.credentials.context]
    words += ["--kube-namespace", cluster.namespace, *([name] if name else [])]
    return shlex.join(words)


def _list(cluster: Cluster, resource: str, group: str) -> tuple[list[dict[str, Any]], datetime]:
    found, now = ask(
        cluster,
        cluster.path(resource, group=group),
        f"list {resource}",
        labelSelector=f"{MANAGED}={MANAGER}",
    )
    return list(found["items"]), now


def _is_pending(pod: Mapping[str, Any]) -> bool:
    return bool(pod.get("status", {}).get("phase") == "Pending")


def use_of_keeper(job: Mapping[str, Any], now: datetime, *, is_pending: bool) -> Use:
    """Tell whether a keeper's process lives: its pod ends with that, and the job with its pod.

    Args:
        job: The keeper.
        now: The time, by the cluster's clock.
        is_pending: Whether its pod has not run so far.
    """
    metadata, status = job["metadata"], job.get("status", {})
    ends = (
        one["type"] in ("Complete", "Failed") and one["status"] == "True"
        for one in status.get("conditions") or ()
    )
    if "deletionTimestamp" in metadata or any(ends):
        return "dead"
    age = now - datetime.fromisoformat(metadata["creationTimestamp"])
    if is_pending and age > _LONGEST_START:  # no process waits for so long
        return "dead"
    # Without a pod, as where a quota leaves no room for one, there is nothing to tell it by.
    return "alive" if status.get("active") or age < _PATIENCE else "unknown"


def _use_of_pod(pod: Mapping[str, Any], keepers: Mapping[str, Use]) -> Use:
    if _label(pod, KEPT) == "true":
        return "kept"
    process = _label(pod, PROCESS)
    return keepers.get(process, "dead") if process else "unknown"


def _told(thing: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    metadata = thing["metadata"]
    yield "run", _label(thing, RUN)
    yield "process", _label(thing, PROCESS)
    yield "test", str((metadata.get("annotations") or {}).get(TEST_ANNOTATION, ""))
    yield "started", str(metadata.get("creationTimestamp", ""))


def _label(thing: Mapping[str, Any], name: str) -> str:
    return str((thing["metadata"].get("labels") or {}).get(name, ""))
