"""Isolation by a network policy, where a cluster lets no pod take its own network away.

A policy is a wish: a network plugin has to enforce it, and many do not. So each pod is tried from
inside before a test gets it, and one that gets out is refused.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_agent_sandbox.engines.kubernetes import reach_inside
from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.labels import ISOLATED_LABEL, PROCESS
from pytest_agent_sandbox.engines.kubernetes.pod_state import CUT
from pytest_agent_sandbox.engines.kubernetes.refusals import ClusterRefusedError
from pytest_agent_sandbox.errors import SandboxError, SandboxStartFailed

if TYPE_CHECKING:
    from pytest_agent_sandbox.engines.kubernetes.pod import Pod

_GROUP, _KIND = "networking.k8s.io", "networkpolicies"
# Seconds for the program in the pod to begin, and to have tried all.
_BEGIN, _TRY = 30.0, 40.0
# Seconds for a policy to come into force on a new pod.
_SETTLE = 15.0
_WAYS = (
    "Have the namespace admit NET_ADMIN for that one container, which has ended before the server "
    "starts; or use a network plugin that enforces NetworkPolicy, such as Calico or Cilium, on "
    "the nodes of these pods; or choose --sandbox-network=open"
)


class NotCutError(SandboxStartFailed):
    """A pod that could not take its own network away."""


class DenyAll:
    """A policy that lets the isolated pods of a process neither out nor be reached.

    Args:
        cluster: The cluster.
        metadata: Labels and owner of all that the process makes.
        name_servers: Where pods of the cluster look up names.
        why: Why pods cannot take their network away, in words.

    Attributes:
        why: That.

    Raises:
        SandboxStartFailed: It cannot be made.
        EngineUnavailable: The cluster does not answer.
    """

    def __init__(
        self,
        cluster: Cluster,
        metadata: Mapping[str, Any],
        name_servers: Sequence[str],
        why: str,
    ) -> None:
        self._cluster = cluster
        self._name_servers = [one for one in name_servers if _is_away(one)]
        self._labels: dict[str, str] = metadata["labels"]
        self.why = why.rstrip(".")
        self._name = f"agent-sandbox-{self._labels[PROCESS]}"
        try:
            self._create(self._name, metadata["ownerReferences"])
        except ClusterRefusedError as error:
            if error.status == HTTPStatus.CONFLICT:  # it was made, but of no use then
                return
            raise SandboxStartFailed(
                f"No isolated sandbox can be started: {self.why}. Without that, a network policy "
                f"is needed, and: {error}"
            ) from error

    def manifest(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Return a pod's manifest as one that the policy is for."""
        metadata, spec = manifest["metadata"], manifest["spec"]
        others = [one for one in spec.get("initContainers") or () if one["name"] != CUT]
        labels = {**metadata["labels"], ISOLATED_LABEL: "true"}
        return {
            **manifest,
            "metadata": {**metadata, "labels": labels},
            "spec": {**spec, "initContainers": others},
        }

    def try_out(self, pod: Pod) -> None:
        """Try to get out of a pod that runs, by real connections from inside.

        Raises:
            SandboxStartFailed: One got out, or nothing can be tried.
            SandboxError: The cluster refuses, or does not answer.
        """
        others = _api_server(self._cluster)
        arguments = [_nodes(pod.status), self._name_servers, others, _SETTLE]
        with pod.start_program("reach", [reach_inside], arguments, patience=_BEGIN) as program:
            try:
                told = json.loads(program.read_line(_TRY))
            except (OSError, ValueError) as error:
                raise SandboxStartFailed(
                    f"Whether pod {pod.name} is isolated could not be tried: "
                    f"{program.why_gone(error)}"
                ) from None
        if told["reached"]:
            raise SandboxStartFailed(
                f"Pod {pod.name} was to be isolated, and is not: from inside it reaches "
                f"{', '.join(told['reached'])}. {self.why}, and nothing enforces the network "
                f"policy {self._name}, which denies all. {_WAYS}."
            )

    def outlive(self, pod: Pod) -> None:
        """Have a pod stay isolated that stays after the process, with its policy.

        Raises:
            SandboxError: The cluster refuses, or does not answer.
        """
        owner = {"apiVersion": "v1", "kind": "Pod", "name": pod.name}
        owner["uid"] = pod.status["metadata"]["uid"]
        self._create(pod.name, [owner])

    def _create(self, name: str, owners: object) -> None:
        chosen = {PROCESS: self._labels[PROCESS], ISOLATED_LABEL: "true"}
        policy = {
            "apiVersion": f"{_GROUP}/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": name, "labels": self._labels, "ownerReferences": owners},
            # Neither has a rule: nothing is allowed.
            "spec": {
                "podSelector": {"matchLabels": chosen},
                "policyTypes": ["Ingress", "Egress"],
            },
        }
        path = self._cluster.path(_KIND, group=_GROUP)
        self._cluster.request("POST", path, f"create network policy {name}", body=policy)


def refuses_cut(error: SandboxError) -> bool:
    """Tell whether an isolated pod may have been refused for the container that cuts it off.

    Whoever may make no pods, or has no room for them, is helped by no other pod.
    """
    if isinstance(error, NotCutError):
        return True
    if not isinstance(error, ClusterRefusedError):
        return False
    is_policy = error.status in (HTTPStatus.FORBIDDEN, HTTPStatus.BAD_REQUEST)
    return is_policy and not error.is_permission and "exceeded quota" not in str(error)


def _nodes(status: Mapping[str, Any]) -> list[str]:
    """Return the addresses of a pod's node."""
    found = status.get("status", {})
    addresses = [one.get("ip", "") for one in found.get("hostIPs") or ()]
    return [one for one in dict.fromkeys([found.get("hostIP", ""), *addresses]) if _is_away(one)]


def _api_server(cluster: Cluster) -> list[tuple[str, int]]:
    """Return where we reach the API server, where that is an address that a pod could try."""
    url = urlsplit(cluster.credentials.address)
    host = url.hostname or ""
    return [(host, url.port or 443)] if _is_away(host) else []


def _is_away(host: str) -> bool:
    """Tell whether an address is one outside of a pod: its own loopback is not."""
    with suppress(ValueError):
        return not ipaddress.ip_address(host).is_loopback
    return False
