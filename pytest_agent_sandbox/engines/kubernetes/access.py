"""What somebody may do in a cluster, as its API server tells: asks only, and makes nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from pytest_agent_sandbox.engines.kubernetes.cluster import TIMEOUT, Cluster
from pytest_agent_sandbox.engines.kubernetes.refusals import ClusterRefusedError

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def ask(cluster: Cluster, path: str, what: str, **query: str) -> tuple[dict[str, Any], datetime]:
    """Ask for an object; return it, and the API server's time.

    Args:
        cluster: The cluster.
        path: The request's path.
        what: What is asked for, as "list pods", for messages.
        query: The request's query.

    Raises:
        ClusterRefusedError: The API server refused.
        EngineUnavailable: It does not answer.
    """
    with cluster.reading(path, what, query, silence=TIMEOUT) as answer:
        found = dict(json.loads(answer.read()))
        try:
            time = parsedate_to_datetime(answer.headers["date"])
        except (KeyError, ValueError):  # a proxy in between has taken it
            time = datetime.now(UTC)
    return found, time


def has_namespace(cluster: Cluster) -> bool | None:
    """Tell whether the namespace is there; None where that may not be asked.

    Raises:
        ClusterRefusedError: The API server refused for another reason.
        EngineUnavailable: It does not answer.
    """
    try:
        cluster.get(f"/api/v1/namespaces/{cluster.namespace}")
    except ClusterRefusedError as error:
        if error.status == HTTPStatus.FORBIDDEN:
            return None
        if error.status == HTTPStatus.NOT_FOUND:
            return False
        raise
    return True


def missing_verbs(
    cluster: Cluster, group: str, resource: str, verbs: tuple[str, ...]
) -> tuple[str, ...]:
    """Return those of the verbs that we may not use on a resource of the namespace.

    Args:
        cluster: The cluster.
        group: The resource's group; empty for the core's.
        resource: Its name, as `pods/exec`.
        verbs: The verbs.

    Raises:
        ClusterRefusedError: That may not even be asked.
        EngineUnavailable: The API server does not answer.
    """
    return tuple(one for one in verbs if not _is_allowed(cluster, group, resource, one))


def _is_allowed(cluster: Cluster, group: str, resource: str, verb: str) -> bool:
    name, _, subresource = resource.partition("/")
    attributes = {
        "namespace": cluster.namespace,
        "verb": verb,
        "group": group,
        "resource": name,
        "subresource": subresource,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    told = cluster.request("POST", _REVIEWS, f"ask for {verb} on {resource}", body=review)
    return bool(told["status"]["allowed"])
