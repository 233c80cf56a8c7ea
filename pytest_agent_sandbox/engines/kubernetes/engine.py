"""Kubernetes as an engine: sandboxes as pods, reached over the API server alone."""

from __future__ import annotations

import secrets
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_agent_sandbox.containers.image_names import DEFAULT_IMAGE
from pytest_agent_sandbox.engines.engine import EngineContext, SandboxEngine, SandboxRequest
from pytest_agent_sandbox.engines.kubernetes.cleanup import prune_command
from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.engines.kubernetes.credentials import read_credentials
from pytest_agent_sandbox.engines.kubernetes.keeper import Keeper
from pytest_agent_sandbox.engines.kubernetes.labels import (
    KEPT,
    MANAGED,
    MANAGER,
    PROCESS,
    RUN,
    SANDBOX,
    TEST_ANNOTATION,
)
from pytest_agent_sandbox.engines.kubernetes.plan import PodPlan, plan_pod
from pytest_agent_sandbox.engines.kubernetes.pod import Pod
from pytest_agent_sandbox.engines.kubernetes.pod_image import PodImage, look_into
from pytest_agent_sandbox.engines.kubernetes.pod_template import read_template
from pytest_agent_sandbox.engines.kubernetes.pod_watch import PodWatch
from pytest_agent_sandbox.engines.kubernetes.room import Room
from pytest_agent_sandbox.engines.kubernetes.start import PodStarter
from pytest_agent_sandbox.engines.kubernetes.workspace import KubernetesWorkspace, ways_in
from pytest_agent_sandbox.errors import SandboxError, SettingsError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.host.host_route import HostRoute
from pytest_agent_sandbox.sandbox.allowance import Allowance
from pytest_agent_sandbox.sandbox.gateway import HostGateway
from pytest_agent_sandbox.sandbox.network import (
    GATEWAY_PORT,
    ISOLATED,
    LOOPBACK,
    NONE,
    OPEN,
    chosen_network,
)
from pytest_agent_sandbox.sandbox.statistics import SandboxStatistics
from pytest_agent_sandbox.sandbox.supply import SandboxSupply
from pytest_agent_sandbox.settings.table import SandboxSettings

_log = seldom.logger(__name__)

_PULL_POLICIES = {"missing": "IfNotPresent", "always": "Always", "never": "Never"}
# Sandboxes to start ahead where nobody has said how many.
_AHEAD = 1
# Pods of a run that the API server is asked for at the same time.
_CREATIONS = 16


class KubernetesEngine(SandboxEngine):
    """Pods of one namespace of one cluster."""

    supports = frozenset(
        {
            *("image", "pull", "memory", "cpus", "network", "allow", "runtime", "forward_env"),
            *("secret_key_env", "quiet_boot", "isolation", "max_reuses", "pool_size", "keep"),
            "security",
            *("kube_context", "kube_namespace", "pod_template", "max"),
        }
    )

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context)
        self._closing = ExitStack()
        self._lock = threading.RLock()
        self._images: dict[str, PodImage] = {}
        self._supply: SandboxSupply[PodPlan, Pod] | None = None
        self._keeper: Keeper | None = None
        self._labels = {MANAGED: MANAGER, RUN: context.run, PROCESS: secrets.token_hex(8)}

    @classmethod
    def check(cls, settings: SandboxSettings) -> None:
        """Refuse what pods cannot keep."""
        super().check(settings)
        if settings.security == "sudo":
            raise SettingsError(
                f"--sandbox-security = sudo is not supported with {cls.chosen_by(settings)}: "
                "programs of a pod gain no privileges. Leave one of both out."
            )
        chosen_network(settings.security, settings.network)
        if settings.network not in (None, OPEN, ISOLATED, NONE):
            raise SettingsError(
                f"network = {settings.network}: a cluster has no networks to join; use open, "
                "isolated or none"
            )

    @property
    def statistics(self) -> SandboxStatistics:
        """How the tests got their sandboxes so far."""
        return SandboxStatistics() if self._supply is None else self._supply.statistics

    def connect(self) -> None:
        """Read the credentials, and ask the API server for its version."""
        self._cluster.description  # noqa: B018 - asks

    def header(self) -> list[str]:
        """Return which cluster and which image the tests run on."""
        settings = self.context.settings
        return [
            f"on {self._cluster.description}",
            f"image {self.choose_image(settings)}",
            *self._lacks(),
            *self.not_in_effect(),
        ]

    def _lacks(self) -> list[str]:
        """Return a line that says what of the run's profile a pod has not."""
        if self.context.settings.security != "strict":
            return []
        return [
            "strict in a pod: the number of processes is limited by its node (podPidsLimit) if at "
            "all, and root keeps KILL, SETGID and SETUID to start the server"
        ]

    def not_in_effect(self) -> list[str]:
        """Return a line that names the run's settings that mean nothing here."""
        return [line.replace("without containers", "in a pod") for line in super().not_in_effect()]

    def choose_image(self, settings: SandboxSettings) -> str:
        """Return the name of the image that settings mean."""
        return settings.image or DEFAULT_IMAGE

    @property
    def ahead(self) -> int:
        """How many sandboxes to start ahead."""
        if not self.context.may_prepare or self.context.is_looked_into:
            return 0
        size = self.context.settings.pool_size
        return _AHEAD if size is None else size

    def prepare(self, requests: Sequence[SandboxRequest]) -> None:
        """Start sandboxes for the next tests, once one of their image was started."""
        try:
            plans = [self._plan(one) for one in requests if one.image in self._images]
            if plans:
                self._sandboxes.prepare(plans)
        except (SandboxError, OSError):  # a test that meets it too says so
            _log.debug("no sandboxes are started ahead", exc_info=True)

    def look_into(self, request: SandboxRequest) -> PodImage:
        """Return what the image holds that is asked for; a pod of it looks, once a run.

        Raises:
            SandboxError: No pod runs from it, or there is no agent server in it.
        """
        with self._lock:
            if request.image not in self._images:
                self._images[request.image] = self._look_into(request)
            return self._images[request.image]

    def start(self, request: SandboxRequest) -> KubernetesWorkspace:
        """Start a pod, or take one that is ready, until its server answers."""
        self.look_into(request)
        plan = self._plan(request)
        log_path = request.log_path
        if log_path is None:
            scratch = self._closing.enter_context(tempfile.TemporaryDirectory())
            log_path = Path(scratch) / "server.log"
        return KubernetesWorkspace(
            request,
            plan,
            cluster=self._cluster,
            gateway=self._gateway,
            supply=self._sandboxes,
            log_path=log_path,
        )

    def kept(self) -> list[str]:
        """Return what the terminal says of the pods of this run that stay after it."""
        cluster = self._cluster
        chosen = f"{KEPT}=true,{RUN}={self.context.run}"
        pods = cluster.get(cluster.path("pods"), labelSelector=chosen)["items"]
        if not pods:
            return []
        noun = "sandbox was" if len(pods) == 1 else "sandboxes were"
        lines = [f"{len(pods)} {noun} kept; `{prune_command(cluster)}` ends all that were:"]
        for pod in pods:
            metadata = pod["metadata"]
            lines.append(str(metadata["annotations"].get(TEST_ANNOTATION, "")))
            lines += ways_in(cluster, metadata["name"])
        return lines

    def close(self) -> None:
        """Delete all pods, and wait for that."""
        self._closing.close()

    @cached_property
    def _cluster(self) -> Cluster:
        settings = self.context.settings
        found = read_credentials(settings.kube_context, settings.kube_namespace)
        return self._closing.enter_context(Cluster(found))

    @cached_property
    def _template(self) -> Mapping[str, Any]:
        return read_template(self.context.settings.pod_template)

    @property
    def _sandboxes(self) -> SandboxSupply[PodPlan, Pod]:
        """Where the sandboxes come from, from the first one on."""
        with self._lock:
            if self._supply is None:
                room = self._room  # made first, so closed last
                self._supply = SandboxSupply(
                    PodStarter(self._cluster, self._watch, room, self._metadata()),
                    size=self.ahead,
                    most_reuses=self.context.settings.max_reuses,
                    clean_log=self.context.mask,
                    allowance=self._allowance,
                )
                self._closing.callback(self._end_supply)
            return self._supply

    @cached_property
    def _room(self) -> Room:
        return Room(
            self._cluster,
            f"{RUN}={self.context.run},{SANDBOX}=true",
            self._allowance,
            creations=max(1, _CREATIONS // self.context.workers),
        )

    @cached_property
    def _watch(self) -> PodWatch:
        """The only watch of this process, whatever the number of its pods."""
        watch = PodWatch(self._cluster, f"{PROCESS}={self._labels[PROCESS]}")
        return self._closing.enter_context(watch)

    @cached_property
    def _allowance(self) -> Allowance:
        return self._closing.enter_context(self.context.allowance())

    def _end_supply(self) -> None:
        assert self._supply is not None
        try:
            self._supply.close()
        except SandboxError as error:
            print(f"agent-sandbox: sandboxes may be left: {error}", file=sys.__stderr__)

    def _metadata(self, image: str = "") -> dict[str, Any]:
        """Return labels and owner of all that this process makes.

        Args:
            image: The image of the owner, where there is none yet; the run's by default.
        """
        with self._lock:
            if self._keeper is None:
                settings = self.context.settings
                self._keeper = Keeper(
                    self._cluster,
                    f"agent-sandbox-{self._labels[PROCESS]}",
                    self._labels,
                    image or self.choose_image(settings),
                    _PULL_POLICIES[settings.pull],
                    self._placement,
                )
                self._closing.callback(self._end_keeper, self._keeper)
            labels = {**self._labels, SANDBOX: "true"}
            return {"labels": labels, "ownerReferences": [self._keeper.owner]}

    def _end_keeper(self, keeper: Keeper) -> None:
        try:
            keeper.close()
        except SandboxError as error:
            print(f"agent-sandbox: a job may be left: {error}", file=sys.__stderr__)

    @property
    def _placement(self) -> dict[str, Any]:
        """What of the template says where pods run, and by whose leave images are pulled."""
        return {
            key: value
            for key, value in self._template.items()
            if key in ("nodeSelector", "tolerations", "affinity", "imagePullSecrets")
        }

    def _look_into(self, request: SandboxRequest) -> PodImage:
        return look_into(
            self._cluster,
            self._watch,
            self._room,
            request.image,
            _PULL_POLICIES[request.settings.pull],
            self._metadata(request.image),
            self._placement,
            request.settings.start_timeout,
        )

    def _plan(self, request: SandboxRequest) -> PodPlan:
        return plan_pod(
            request,
            self._images[request.image],
            self._gateway.way,
            self._template,
            _PULL_POLICIES[request.settings.pull],
        )

    @cached_property
    def _gateway(self) -> HostGateway:
        route = HostRoute(LOOPBACK, container_host_name=LOOPBACK, container_port=GATEWAY_PORT)
        return self._closing.enter_context(HostGateway(lambda: route))
