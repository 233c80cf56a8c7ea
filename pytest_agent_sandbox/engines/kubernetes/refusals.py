"""What the API server refuses, in words that say what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus

from pytest_agent_sandbox.errors import SandboxError

#: A rule of a Role: the group of a resource, its name, and verbs.
Rule = tuple[str, str, tuple[str, ...]]
#: The permissions that this engine needs, as rules of a Role.
RULES: tuple[Rule, ...] = (
    ("", "pods", ("create", "get", "list", "watch", "delete", "patch")),
    ("", "pods/exec", ("get", "create")),
    ("", "pods/log", ("get",)),
    ("", "events", ("list",)),
    ("batch", "jobs", ("create", "get", "list", "delete")),
)
#: What it needs too where pods cannot take their own network away.
POLICY_RULE: Rule = ("networking.k8s.io", "networkpolicies", ("create",))
_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]*)"'
)


class ClusterRefusedError(SandboxError):
    """A request that the API server refused.

    Args:
        message: What was refused, and why.
        status: The HTTP status.
        reason: The server's word for it, such as `AlreadyExists`.
        is_permission: Whether it lacks a permission, which a Role would give.
    """

    def __init__(
        self, message: str, *, status: int, reason: str = "", is_permission: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.is_permission = is_permission


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
    found = _FORBIDDEN.search(told) if status == HTTPStatus.FORBIDDEN else None
    if status == HTTPStatus.UNAUTHORIZED:
        message += " The credentials of the kubeconfig are not valid, or have expired."
    elif found:
        rules = (*RULES, POLICY_RULE) if found["resource"] == POLICY_RULE[1] else RULES
        message += (
            f" {found['user']} needs the verb {found['verb']} on {found['resource']} in the "
            f"namespace {namespace}. All that is needed:\n{role(namespace, rules)}"
        )
    elif status == HTTPStatus.FORBIDDEN and "exceeded quota" in told:
        message += (
            f" Raise the quota of the namespace {namespace}, lower --sandbox-memory and "
            "--sandbox-cpus, or start fewer at once (--sandbox-max, --sandbox-pool-size, -n)."
        )
    elif status == HTTPStatus.NOT_FOUND and "namespaces" in told:
        message += f" Make it (kubectl create namespace {namespace}), or name another one by "
        message += "--sandbox-kube-namespace."
    return ClusterRefusedError(
        message.replace("..", "."), status=status, reason=reason, is_permission=bool(found)
    )


def role(namespace: str, rules: Sequence[Rule] = RULES) -> str:
    """Return a Role with the least that this engine needs, as YAML."""
    lines = [
        "apiVersion: rbac.authorization.k8s.io/v1",
        "kind: Role",
        f"metadata: {{name: pytest-agent-sandbox, namespace: {namespace}}}",
        "rules:",
    ]
    for group, resource, verbs in rules:
        lines.append(
            f'- {{apiGroups: ["{group}"], resources: [{resource}], verbs: [{", ".join(verbs)}]}}'
        )
    return "\n".join(lines)
