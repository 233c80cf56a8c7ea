"""Accounts of a cluster with less than all permissions."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import yaml

from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster


def limited(cluster: Cluster, rules: str | None) -> dict[str, str]:
    """Return the kubeconfig's user for an account with a Role, whose YAML is given."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "tester"}}
    cluster.request("POST", cluster.path("serviceaccounts"), "create account", body=account)
    if rules is not None:
        path = cluster.path("roles", group="rbac.authorization.k8s.io")
        cluster.request("POST", path, "create role", body=yaml.safe_load(rules))
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "tester"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "Role",
                "name": "pytest-agent-sandbox",
            },
            "subjects": [
                {"kind": "ServiceAccount", "name": "tester", "namespace": cluster.namespace}
            ],
        }
        path = cluster.path("rolebindings", group="rbac.authorization.k8s.io")
        cluster.request("POST", path, "bind role", body=binding)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        found = cluster.get(cluster.path("serviceaccounts", "tester")).get("secrets")
        if found:
            secret = cluster.get(cluster.path("secrets", found[0]["name"]))
            return {"token": base64.b64decode(secret["data"]["token"]).decode()}
        time.sleep(0.1)
    raise AssertionError("no token came")


def as_user(kubeconfig: str, user: dict[str, str], target: Path) -> None:
    """Write a kubeconfig of that user."""
    found = yaml.safe_load(Path(kubeconfig).read_text("utf-8"))
    found["users"][0]["user"] = user
    target.write_text(yaml.safe_dump(found), "utf-8")
