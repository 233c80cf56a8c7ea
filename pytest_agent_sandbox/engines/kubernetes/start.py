"""Starting sandboxes as pods."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from pytest_agent_sandbox.containers.proxies import without_proxy
from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.labels import TEST_ANNOTATION
from pytest_agent_sandbox.engines.kubernetes.plan import PodPlan
from pytest_agent_sandbox.engines.kubernetes.pod import Pod
from pytest_agent_sandbox.engines.kubernetes.pod_watch import PodWatch
from pytest_agent_sandbox.engines.kubernetes.room import Room
from pytest_agent_sandbox.errors import SandboxDied, SandboxStartFailed
from pytest_agent_sandbox.host.egress import Egress
from pytest_agent_sandbox.sandbox.agent_server import SERVER_PORT
from pytest_agent_sandbox.sandbox.network import ISOLATED, NONE, ways_out
from pytest_agent_sandbox.sandbox.sandbox import Keys, Sandbox, User

PodSandbox = Sandbox[PodPlan, Pod]

# Characters that a pod's name may have.
_LONGEST_NAME = 63


class PodStarter:
    """Starts sandboxes in one cluster.

    Args:
        cluster: The cluster.
        watch: Tells what becomes of its pods.
        room: Tells whether room for more of them will come.
        metadata: Their labels and owner.
    """

    def __init__(
        self, cluster: Cluster, watch: PodWatch, room: Room, metadata: Mapping[str, Any]
    ) -> None:
        self._cluster = cluster
        self._watch = watch
        self._room = room
        self._metadata = metadata

    def start(
        self,
        plan: PodPlan,
        user: User,
        *,
        dormant: bool = False,  # noqa: ARG002 - no plan of pods is deferrable
        check: Callable[[], None] = lambda: None,
    ) -> PodSandbox:
        """Start a pod until its server answers; see `Starter`."""
        began = time.monotonic()
        keys = Keys.new(plan.secret_key)
        keys.tell(user.on_secret)
        egress = Egress(plan.allow)
        end = began + plan.timeout
        try:
            with ExitStack() as undo:
                pod = undo.enter_context(
                    Pod.start(
                        self._cluster,
                        self._watch,
                        self._room,
                        self._manifest(plan),
                        log_path=user.log_path,
                        clean=user.clean_log,
                        outwards=ways_out(plan.network, plan.gateway, egress),
                        ports=[SERVER_PORT],
                        is_isolated=plan.network in (ISOLATED, NONE),
                        is_nobody=user.is_nobody,
                        timeout=max(0.0, end - time.monotonic()),
                        check=check,
                    )
                )
                sandbox = PodSandbox(plan, pod, keys, egress, is_dormant=False)
                told = without_proxy([dict(plan.variables)], plan.gateway.direct)
                own = {**plan.variables, **told}
                sandbox.begin(plan.launch, plan.first_state, own, check, since=began)
                undo.pop_all()
        except SandboxDied as death:
            raise SandboxStartFailed(f"While starting: {death}", log=death.log) from None
        return sandbox

    def _manifest(self, plan: PodPlan) -> dict[str, Any]:
        suffix = secrets.token_hex(6)
        name = f"{plan.name_prefix[: _LONGEST_NAME - len(suffix) - 1].rstrip('-')}-{suffix}"
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                **self._metadata,
                "name": name,
                "annotations": {TEST_ANNOTATION: plan.test or "(any)"},
            },
            # As Docker names its containers: what agents see of it differs in nothing else.
            "spec": {**plan.pod, "hostname": suffix},
        }
