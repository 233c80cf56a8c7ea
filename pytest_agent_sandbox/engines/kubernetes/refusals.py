"""What the API server refuses, in words that say what to do."""

from __future__ import annotations

import re
from http import HTTPStatus

from pytest_agent_sandbox.errors import SandboxError

#: The permissions that this engine needs, as rules of a Role.
RULES = (
    ("", "pods", ("create", "get", "list", "watch", "delete", "patch")),
    ("", "pods/exec", ("get", "create")),
    ("", "pods/log", ("get",)),
    ("", "events", ("list",)),
    ("batch", "jobs", ("create", "get", "list", "delete")),
)
_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]*)"'
)


class ClusterRefusedError(SandboxError):
    """A request that the API server refused.

    Args:
        message: What was refused, and why.
        status: The HTTP status.
        reason: The server's word for it, such as `AlreadyExists`.
    """

    def __init__(self, message: str, *, status: int, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


def refusal(what: str, status: int, answer: object, namespace: str) -> ClusterRefusedError:
    """Return the error of a refused request.

    Args:
        what: What was asked for, as "create pod x".
        status: The HTTP status.
        answer: What came with it: a `Status` of Kubernetes, as a rule.
        namespace: Where it was asked for.
    """
    fields = answer if isinstance(answer, dict) else {}
    told = str(fields.get("message") or answer or "").strip()[:1000]
    reason = str(fields.get("reason") or "")
    message = f"The cluster refused to {what}: {told or f'HTTP {status}'}."
    if status == HTTPStatus.UNAUTHORIZED:
        message += " The credentials of the kubeconfig are not valid, or have expired."
    elif status == HTTPStatus.FORBIDDEN and (found := _FORBIDDEN.search(told)):
        message += (
            f" {found['user']} needs the verb {found['verb']} on {found['resource']} in the "
            f"namespace {namespace}. All that is needed:\n{role(namespace)}"
        )
    elif status == HTTPStatus.FORBIDDEN and "exceeded quota" in told:
        message += (
            f" Raise the quota of the namespace {namespace}, lower --sandbox-memory and "
            "--sandbox-cpus, or start fewer at once (--sandbox-max, --sandbox-pool-size, -n)."
        )
    elif status == HTTPStatus.NOT_FOUND and "namespaces" in told:
        message += f" Make it (kubectl create namespace {namespace}), or name another one by "
        message += "--sandbox-kube-namespace."
    return ClusterRefusedError(message.replace("..", "."), status=status, reason=reason)


def role(namespace: str) -> str:
    """Return a Role with the least that this engine needs, as YAML."""
    lines = [
        "apiVersion: rbac.authorization.k8s.io/v1",
        "kind: Role",
        f"metadata: {{name: pytest-agent-sandbox, namespace: {namespace}}}",
        "rules:",
    ]
    for group, resource, verbs in RULES:
        lines.append(
            f'- {{apiGroups: ["{group}"], resources: [{resource}], verbs: [{", ".join(verbs)}]}}'
        )
    return "\n".join(lines)
