"""A pod joined to a client: what a test calls a workspace."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from pytest_agent_sandbox.containers.sizes import spell_size
from pytest_agent_sandbox.engines.engine import SandboxRequest
from pytest_agent_sandbox.engines.kubernetes.cleanup import prune_command
from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.plan import PodPlan
from pytest_agent_sandbox.engines.kubernetes.pod import Pod
from pytest_agent_sandbox.engines.kubernetes.pod_state import of_server
from pytest_agent_sandbox.host.egress import told_of
from pytest_agent_sandbox.sandbox.gateway import HostGateway
from pytest_agent_sandbox.sandbox.network import network_facts
from pytest_agent_sandbox.sandbox.sandbox import RESTART_TIMEOUT, Supply, User
from pytest_agent_sandbox.sandbox.workspace import Workspace


class KubernetesWorkspace(Workspace):
    """An agent server in a pod, and the operations on its workspace.

    Args:
        request: What is asked for.
        plan: What that means for the pod.
        cluster: Where it is.
        gateway: Where the agents' LLM calls go.
        supply: Where the sandbox comes from, and goes to.
        log_path: The file of its server's log.

    Raises:
        SandboxStartFailed: The pod does not start, or its server never answered.
    """

    _place = "the sandbox, a pod of a cluster,"

    def __init__(
        self,
        request: SandboxRequest,
        plan: PodPlan,
        *,
        cluster: Cluster,
        gateway: HostGateway,
        supply: Supply[PodPlan, Pod],
        log_path: Path,
    ) -> None:
        self.gateway = gateway
        self.log_path = log_path
        self._cluster = cluster
        self._supply = supply
        user = User(log_path, None, request.clean_log, request.on_secret)
        with ExitStack() as failed:
            self.sandbox = supply.take(plan, user)
            failed.callback(supply.release, self.sandbox, wait=True)
            self.pod = self.sandbox.container
            super().__init__(
                self.sandbox.address,
                self.sandbox.session_key,
                working_dir=request.settings.working_dir,
                guard=self.pod.check,
            )
            if plan.isolation != "fresh" or self.sandbox.plan.test != plan.test:
                self.pod.tell_test(plan.test)
            self.connection.known_version = plan.image.version
            failed.pop_all()

    @property
    def name(self) -> str:
        """The pod's name."""
        return self.pod.name

    @property
    def identity(self) -> Mapping[str, str]:
        """What is different in this workspace from any other, and what to call it."""
        status = self.pod.status.get("status", {})
        named = {self.pod.name: "container", status.get("podIP", ""): "address"}
        named[status.get("hostIP", "")] = "gateway"
        named[self.pod.status.get("spec", {}).get("hostname", "")] = "host"
        return {value: word for value, word in named.items() if value}

    @property
    def outlives_test(self) -> bool:
        """Whether its server goes on after the test as it is."""
        return self.sandbox.plan.isolation == "shared"

    @property
    def session_key(self) -> SecretStr:
        """What the server's clients have to show."""
        return self.sandbox.session_key

    @property
    def start_seconds(self) -> float:
        """Seconds from the pod's creation to the server's first answer."""
        return self.sandbox.start_seconds

    def begin_test(self) -> None:
        """Begin another test's use of it: what is told of that is told since now."""
        super().begin_test()
        self.sandbox.egress.forget()

    def facts(self) -> Mapping[str, Any]:
        """Return what a report says of the sandbox once it has started."""
        plan, pod = self.sandbox.plan, self.pod.status
        server = of_server(pod.get("spec", {}).get("containers"))
        limits = server.get("resources", {}).get("limits", {})
        memory = str(limits.get("memory", "no limit"))  # such as 1G, where it has so round a name
        status = of_server(pod.get("status", {}).get("containerStatuses"))
        facts: dict[str, Any] = {
            "image": plan.image.reference,
            "image id": status.get("imageID", ""),
            "server": plan.image.version,
            "engine": self._cluster.description,
            "node": self.pod.node,
            "start_seconds": round(self.start_seconds, 3),
            "isolation": plan.isolation,
            "security": plan.security,
            **({"used by tests": self.sandbox.uses} if self.sandbox.uses > 1 else {}),
            "memory": spell_size(int(memory)) if memory.isdecimal() else memory,
            **({"cpus": limits["cpu"]} if "cpu" in limits else {}),
        }
        facts |= network_facts(plan.network, plan.allow, self.pod.unheard)
        if self.pod.is_tried:
            facts["network"] = f"{plan.network}, by a network policy, tried from inside"
        return facts

    def end_facts(self) -> Mapping[str, Any]:
        """Return what a report says of the sandbox at the end of a test."""
        return self.pod.end_facts() | told_of(self.sandbox.egress)

    def ways_in(self) -> list[str]:
        """Return lines that tell people how to look into the sandbox."""
        return ways_in(self._cluster, self.name)

    def log_tail(self, lines: int = 50) -> str:
        """Return the last lines of the server's log."""
        return self.pod.log_tail(lines)

    def restart(self, *, timeout: float = RESTART_TIMEOUT) -> None:
        """End the sandbox's server and start another one; files stay."""
        self.sandbox.restart(timeout)

    def keep(self) -> None:
        """Let the pod go on when this is closed, so that people can look into it."""
        self.pod.keep()

    def close(self, *, wait: bool = True) -> None:
        """Give the sandbox back, and let go of it. May be called more than once."""
        if self.is_closed:
            return
        try:
            self._begin_close()
        finally:
            super().close(wait=wait)
            self._supply.release(self.sandbox, wait=wait)


def ways_in(cluster: Cluster, pod: str) -> list[str]:
    """Return lines that tell people how to look into a pod."""
    context = cluster.credentials.context
    flag = f" --context {shlex.quote(context)}" if context else ""
    kubectl = f"kubectl{flag} -n {cluster.namespace}"
    return [
        f"  shell     {kubectl} exec -it {pod} -- bash",
        f"  end it    {prune_command(cluster, pod)}",
    ]
