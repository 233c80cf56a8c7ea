"""The owner of all that one process makes in a cluster: what it owns goes when its process goes."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.exec_stream import ExecStream
from pytest_agent_sandbox.engines.kubernetes.refusals import ClusterRefusedError
from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.host.closing import Closing

logger = seldom.logger(__name__)

#: Seconds after its process's end in which a keeper ends; the cluster's garbage collector deletes
#: then what it owns, which takes some seconds more.
GRACE = 30
# Seconds between two heartbeats, and before another attempt to send them.
_BEAT, _PAUSE = 3.0, 1.0
_OPEN_TIMEOUT, _CLOSE_PATIENCE = 10.0, 15.0
# Waits for heartbeats, each of which sets the file's time.
_KEEP = f"""
touch /tmp/beat
while [ $(( $(date +%s) - $(stat -c %Y /tmp/beat) )) -lt {GRACE} ]; do sleep 1; done
"""
_LISTEN = "while read -r _; do touch /tmp/beat; done"


class Keeper(Closing):
    """A Job whose pod lives for as long as this process sends heartbeats to it.

    Kubernetes deletes a Job that has ended, and with it all that names it as its owner. So what a
    killed process leaves in the cluster is deleted by the cluster itself.

    Args:
        cluster: The cluster.
        name: The Job's name.
        labels: The Job's labels, and its pod's.
        image: An image with a shell.
        pull: When to pull it: a pull policy of Kubernetes.
        pod: What else its pod is to have, of the pod template.
    """

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        labels: Mapping[str, str],
        image: str,
        pull: str,
        pod: Mapping[str, Any],
    ) -> None:
        self._cluster = cluster
        self._name = name
        made = cluster.request(
            "POST",
            cluster.path("jobs", group="batch"),
            f"create job {name}",
            body=_job(name, labels, image, pull, pod),
        )
        #: What names it as the owner of what belongs to it.
        self.owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": name,
            "uid": made["metadata"]["uid"],
            "blockOwnerDeletion": False,
        }
        self._closing = threading.Event()
        self._stream: ExecStream | None = None
        self._thread = threading.Thread(target=self._run, name="agent-sandbox-keeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Delete it, and with it all that it owns.

        Raises:
            SandboxError: The cluster refuses, or does not answer; it ends by itself then.
        """
        self._closing.set()
        if self._stream is not None:
            self._stream.close()
        self._thread.join(_CLOSE_PATIENCE)
        delete_job(self._cluster, self._name)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._beat()
            except (SandboxError, OSError):
                logger.debug("heartbeats are not sent", exc_info=True)
            self._closing.wait(_PAUSE)

    def _beat(self) -> None:
        pod = self._running_pod()
        if not pod or self._closing.is_set():
            return
        self._stream = self._cluster.exec(
            pod, "keeper", ["/bin/sh", "-c", _LISTEN], timeout=_OPEN_TIMEOUT
        )
        try:
            while not self._closing.is_set():
                self._stream.send(b"\n", _OPEN_TIMEOUT)
                self._closing.wait(_BEAT)
        finally:
            self._stream.close()

    def _running_pod(self) -> str:
        with suppress(ClusterRefusedError):
            found = self._cluster.get(
                self._cluster.path("pods"), labelSelector=f"job-name={self._name}"
            )
            for pod in found["items"]:
                if pod["status"].get("phase") == "Running":
                    return str(pod["metadata"]["name"])
        return ""


def delete_job(cluster: Cluster, name: str) -> None:
    """Delete a job, if it is there; the cluster deletes then what it owns.

    Raises:
        SandboxError: The cluster refuses, or does not answer.
    """
    try:
        cluster.request(
            "DELETE",
            cluster.path("jobs", name, group="batch"),
            f"delete job {name}",
            body={"propagationPolicy": "Background", "gracePeriodSeconds": 0},
        )
    except ClusterRefusedError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise


def _job(
    name: str, labels: Mapping[str, str], image: str, pull: str, pod: Mapping[str, Any]
) -> dict[str, Any]:
    container = {
        "name": "keeper",
        "image": image,
        "imagePullPolicy": pull,
        "command": ["/bin/sh", "-c", _KEEP],
        "resources": {
            "requests": {"cpu": "5m", "memory": "16Mi"},
            "limits": {"cpu": "100m", "memory": "64Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    spec = {
        **pod,
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {
            "backoffLimit": 2,
            "ttlSecondsAfterFinished": 0,
            "template": {"metadata": {"labels": dict(labels)}, "spec": spec},
        },
    }
