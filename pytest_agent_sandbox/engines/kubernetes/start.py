"""Starting sandboxes as pods."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.deny_all import DenyAll, refuses_cut
from pytest_agent_sandbox.engines.kubernetes.labels import TEST_ANNOTATION
from pytest_agent_sandbox.engines.kubernetes.plan import PodPlan
from pytest_agent_sandbox.engines.kubernetes.pod import Pod
from pytest_agent_sandbox.engines.kubernetes.pod_watch import PodWatch
from pytest_agent_sandbox.engines.kubernetes.refusals import ClusterRefusedError
from pytest_agent_sandbox.engines.kubernetes.room import Room
from pytest_agent_sandbox.errors import SandboxDied, SandboxError, SandboxStartFailed
from pytest_agent_sandbox.host.egress import Egress
from pytest_agent_sandbox.host.no_proxy import without_proxy
from pytest_agent_sandbox.sandbox.agent_server import SERVER_PORT
from pytest_agent_sandbox.sandbox.network import ISOLATED, NONE, allowed_forwards, ways_out
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
        self._lock = threading.Lock()
        self._policy: DenyAll | None = None

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
        forwards = allowed_forwards(plan.places, plan.allow, egress)
        end = began + plan.timeout
        try:
            with ExitStack() as undo:
                pod = undo.enter_context(
                    self._pod(
                        plan,
                        log_path=user.log_path,
                        clean=user.clean_log,
                        outwards=ways_out(plan.network, plan.gateway, egress, forwards),
                        is_nobody=user.is_nobody,
                        end=end,
                        check=check,
                    )
                )
                sandbox = PodSandbox(plan, pod, keys, egress, forwards, is_dormant=False)
                told = without_proxy([dict(plan.variables)], plan.gateway.direct)
                own = {**plan.variables, **told}
                sandbox.begin(plan.launch, plan.first_state, own, check, since=began)
                undo.pop_all()
        except SandboxDied as death:
            raise SandboxStartFailed(f"While starting: {death}", log=death.log) from None
        return sandbox

    def _pod(self, plan: PodPlan, *, end: float, **arguments: Any) -> Pod:
        """Start a pod; where an isolated one cannot be cut off from inside, one with a policy."""
        is_isolated = plan.network in (ISOLATED, NONE)

        def start(policy: DenyAll | None) -> Pod:
            manifest = self._manifest(plan)
            return Pod.start(
                self._cluster,
                self._watch,
                self._room,
                manifest if policy is None else policy.manifest(manifest),
                ports=[SERVER_PORT],
                is_isolated=is_isolated,
                policy=policy,
                timeout=max(0.0, end - time.monotonic()),
                **arguments,
            )

        if not is_isolated or self._policy is not None:
            return start(self._policy if is_isolated else None)
        try:
            return start(None)
        except SandboxError as error:
            if not refuses_cut(error):
                raise
            refused = error
        try:
            return start(self._deny_all(plan, str(refused)))
        except ClusterRefusedError as error:
            self._policy = None
            # It was not for what cuts it off: the same is refused to a pod without that.
            raise refused from error

    def _deny_all(self, plan: PodPlan, why: str) -> DenyAll:
        """Return the policy for all pods from now on, which is made once."""
        with self._lock:
            if self._policy is None:
                names = plan.image.name_servers
                self._policy = DenyAll(self._cluster, self._metadata, names, why)
            return self._policy

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
