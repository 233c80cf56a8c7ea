"""Requests about one pod: create it, change it, read its log, delete it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.pod_state import SERVER
from pytest_agent_sandbox.engines.kubernetes.refusals import ClusterRefusedError
from pytest_agent_sandbox.errors import SandboxError

# Seconds for the log of a pod that has ended.
_LOG_TIMEOUT = 5.0


def create_pod(cluster: Cluster, manifest: Mapping[str, Any]) -> None:
    """Create a pod.

    Raises:
        SandboxError: The cluster refuses, or does not answer.
    """
    what = f"create pod {manifest['metadata']['name']}"
    cluster.request("POST", cluster.path("pods"), what, body=manifest)


def change_pod(cluster: Cluster, name: str, change: Mapping[str, Any]) -> None:
    """Change what a pod says of itself.

    Args:
        cluster: The cluster.
        name: The pod's name.
        change: What is different; None removes.

    Raises:
        SandboxError: The cluster refuses, or does not answer.
    """
    cluster.request(
        "PATCH",
        cluster.path("pods", name),
        f"change pod {name}",
        body=change,
        kind="application/merge-patch+json",
    )


def last_log(cluster: Cluster, name: str) -> bytes:
    """Return the last lines of a pod that has ended before it could be followed."""
    query = {"container": SERVER, "tailLines": "50"}
    path = cluster.path("pods", f"{name}/log")
    with (
        suppress(SandboxError),
        cluster.reading(path, "read a pod's log", query, silence=_LOG_TIMEOUT) as answer,
    ):
        return answer.read()
    return b""


def delete_pod(cluster: Cluster, name: str) -> None:
    """Delete a pod at once, if it is there.

    Raises:
        SandboxError: The cluster refuses, or does not answer.
    """
    try:
        cluster.request(
            "DELETE",
            cluster.path("pods", name),
            f"delete pod {name}",
            body={"gracePeriodSeconds": 0},
        )
    except ClusterRefusedError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
