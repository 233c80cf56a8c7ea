"""The Docker engine: sandboxes as containers, started ahead of tests and used again."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from pytest_agent_sandbox.containers.cleanup import (
    kept_containers,
    remove_labelled,
    remove_left_behind,
)
from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.images import choose_image, describe, ensure_image, find_local
from pytest_agent_sandbox.containers.progress import show_progress
from pytest_agent_sandbox.containers.watcher import Watcher
from pytest_agent_sandbox.engines.docker.access import test_of, ways_in
from pytest_agent_sandbox.engines.docker.gateway import gateway_for
from pytest_agent_sandbox.engines.docker.plan import DockerPlan, plan_sandbox
from pytest_agent_sandbox.engines.docker.start import SandboxStarter
from pytest_agent_sandbox.engines.docker.workspace import DockerWorkspace
from pytest_agent_sandbox.engines.engine import (
    EngineContext,
    SandboxEngine,
    SandboxRequest,
    ServicesRequest,
)
from pytest_agent_sandbox.errors import EngineUnavailable, SandboxError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.host.ownership import OWNER
from pytest_agent_sandbox.sandbox.gateway import HostGateway
from pytest_agent_sandbox.sandbox.network import chosen_network
from pytest_agent_sandbox.sandbox.statistics import SandboxStatistics
from pytest_agent_sandbox.sandbox.supply import SandboxSupply
from pytest_agent_sandbox.settings.engines import CLUSTER_ONLY
from pytest_agent_sandbox.settings.table import SETTINGS, SandboxSettings

if TYPE_CHECKING:
    from pytest_agent_sandbox.sandbox.services.starting import ServicesStart

_log = seldom.logger(__name__)

# What an idle agent server takes, and some more: 1.58 takes 310 MB.
_MEMORY_OF_ONE = 450_000_000
# The part of the engine's memory that sandboxes may take, used ones included.
_PART_OF_MEMORY = 0.5


class DockerEngine(SandboxEngine):
    """Containers of one Docker engine, which is connected to when the first is asked for."""

    supports = frozenset(setting.name for setting in SETTINGS) - CLUSTER_ONLY

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context)
        self._closing = ExitStack()
        self._connection: ContainerEngine | EngineUnavailable | None = None
        self._supply: SandboxSupply[DockerPlan, Container] | None = None
        self._gateways: dict[tuple[str | None, str], HostGateway] = {}
        self._pulled: set[tuple[str, str | None, str]] = set()
        self._plans: dict[SandboxRequest, DockerPlan] = {}
        self._ahead: int | None = None
        #: For what is made once: a test may have threads of its own.
        self._lock = threading.RLock()
        self._pulling = threading.Lock()

    @property
    def connection(self) -> ContainerEngine:
        """The engine; it is looked for once, however often it is asked for.

        Raises:
            EngineUnavailable: None answers.
        """
        with self._lock:
            if isinstance(self._connection, EngineUnavailable):
                raise self._connection.with_traceback(None)
            if self._connection is None:
                try:
                    self._connection = self._closing.enter_context(ContainerEngine.connect())
                except EngineUnavailable as error:
                    self._connection = error
                    raise
            return self._connection

    @property
    def statistics(self) -> SandboxStatistics:
        """How the tests got their sandboxes so far."""
        return SandboxStatistics() if self._supply is None else self._supply.statistics

    def connect(self) -> None:
        """Connect to the Docker engine."""
        self.connection  # noqa: B018 - connects

    def header(self) -> list[str]:
        """Return which engine and which image the tests run on."""
        engine, settings = self.connection, self.context.settings
        reference = choose_image(engine, settings.image, platform=settings.platform)
        image = find_local(engine, reference)
        lines = [
            f"on {engine.description} at {engine.endpoint} ({engine.platform})",
            f"image {describe(image) if image else f'{reference} (not here yet)'}",
        ]
        if engine.is_apart:
            lines.append("the engine's ports are out of reach here: all goes over its connection")
        return lines

    def choose_image(self, settings: SandboxSettings) -> str:
        """Return the name of the image that settings mean."""
        return choose_image(self.connection, settings.image, platform=settings.platform)

    @property
    def ahead(self) -> int:
        """How many sandboxes to start ahead."""
        with self._lock:
            if self._ahead is None:
                self._ahead = self._choose_ahead()
            return self._ahead

    def _choose_ahead(self) -> int:
        if not self.context.may_prepare:
            return 0
        if self.context.settings.pool_size is not None:
            return self.context.settings.pool_size
        if self.context.is_looked_into:
            return 0  # a sandbox that people look into says for which test it was started
        try:
            return _pool_size(self.connection, self.context.workers)
        except SandboxError:  # the tests say so
            return 0

    def prepare(self, requests: Sequence[SandboxRequest]) -> None:
        """Start sandboxes for the next tests, as far as their images are here."""
        try:
            wanted = dict.fromkeys(requests)
            # Only those are kept: a plan holds the files that are copied into its sandboxes.
            self._plans = {
                request: plan for request in wanted if (plan := self._plan_ahead(request))
            }
            plans = [self._plans[request] for request in requests if request in self._plans]
            if plans or self._supply is not None:
                self._sandboxes.prepare(plans)
        except (SandboxError, OSError):  # a test that meets it too says so
            _log.debug("no sandboxes are started ahead", exc_info=True)

    def start(self, request: SandboxRequest) -> DockerWorkspace:
        """Start a container, or take one that is ready, until its server answers."""
        settings, engine = request.settings, self.connection
        self._pull(request.image, settings)
        image = ensure_image(engine, request.image, platform=settings.platform, pull="never")
        gateway = self._gateway(settings)
        return DockerWorkspace.from_request(
            request,
            plan_sandbox(image, gateway.way, request),
            engine=engine,
            gateway=gateway,
            supply=self._sandboxes,
        )

    def start_services(self, request: ServicesRequest) -> ServicesStart:
        """Start containers beside the sandboxes, reached over a gate of the sandboxes' image."""
        from pytest_agent_sandbox.sandbox.services.starting import ServiceHost, ServicesStart

        self._pull(request.image, request.settings)
        host = ServiceHost(
            engine=self.connection,
            gate_image=request.image,
            labels=request.labels,
            log_path=request.log_path,
            scratch=request.scratch,
            uncaptured=self.context.uncaptured,
            clean=request.clean,
        )
        return ServicesStart(host, request.services)

    def kept(self) -> list[str]:
        """Return what the terminal says of the containers of this run that stay after it."""
        engine = self.connection
        names = kept_containers(engine, {"run": self.context.run})
        if not names:
            return []
        noun = "sandbox was" if len(names) == 1 else "sandboxes were"
        title = f"{len(names)} {noun} kept; `agent-sandbox prune` ends all that were"
        return [title, *(line for name in names for line in _kept(engine, name))]

    def close(self) -> None:
        """Remove all sandboxes, and wait for that."""
        self._closing.close()

    @property
    def _sandboxes(self) -> SandboxSupply[DockerPlan, Container]:
        """Where the sandboxes come from, from the first one on."""
        with self._lock:
            if self._supply is None:
                self._supply = self._make_supply()
            return self._supply

    def _make_supply(self) -> SandboxSupply[DockerPlan, Container]:
        engine = self.connection
        watcher = self._closing.enter_context(Watcher(engine.owner.id, way=engine.way))
        owned = {OWNER: engine.owner.id}
        self._closing.callback(_reporting, lambda: remove_labelled(engine, owned))
        allowance = None
        if self.context.settings.max is not None:
            allowance = self._closing.enter_context(self.context.allowance())
        supply = SandboxSupply(
            SandboxStarter(engine),
            size=self.ahead,
            most_reuses=self.context.settings.max_reuses,
            clean_log=self.context.mask,
            allowance=allowance,
        )
        watcher.add_file(supply.scratch)
        self._closing.callback(_reporting, supply.close)
        supply.do_later(lambda: _remove_left_behind(engine))
        return supply

    def _gateway(self, settings: SandboxSettings) -> HostGateway:
        """Return the run's gateway for sandboxes on a network; it starts with its first lane."""
        place = (settings.gateway_address, chosen_network(settings.security, settings.network))
        with self._lock:
            if place not in self._gateways:
                address, network = place
                gateway = gateway_for(self.connection, network=network, address=address)
                self._gateways[place] = self._closing.enter_context(gateway)
            return self._gateways[place]

    def _pull(self, reference: str, settings: SandboxSettings) -> None:
        """Pull an image as the settings say, once, with its progress past pytest's capture."""
        wanted = (reference, settings.platform, settings.pull)
        with self._pulling:
            if wanted in self._pulled:
                return
            with self.context.uncaptured(), show_progress(sys.stderr) as progress:
                ensure_image(
                    self.connection,
                    reference,
                    platform=settings.platform,
                    pull=settings.pull,
                    progress=progress,
                )
            self._pulled.add(wanted)

    def _plan_ahead(self, request: SandboxRequest) -> DockerPlan | None:
        """Return the plan of a request whose image is here; else its test waits for the pull."""
        if request in self._plans:
            return self._plans[request]
        settings = request.settings
        is_pulled = (request.image, settings.platform, settings.pull) in self._pulled
        try:
            image = find_local(self.connection, request.image)
            if image is None or (settings.pull == "always" and not is_pulled):
                return None  # the first test shows its progress
            return plan_sandbox(image, self._gateway(settings).way, request)
        except SandboxError:  # the test itself says so
            return None


def _pool_size(engine: ContainerEngine, workers: int) -> int:
    """Return how many sandboxes each of the run's processes should have ready.

    As many as the engine has cores, for a start takes one for five seconds; shared among the
    processes, but at least one each, as far as the memory goes.
    """
    with engine.calling("describe itself"):
        info: dict[str, Any] = engine.client.info()
    cores, memory = int(info.get("NCPU") or 1), int(info.get("MemTotal") or 0)
    by_memory = int(memory * _PART_OF_MEMORY / _MEMORY_OF_ONE) // workers - 1  # one is in use
    return max(0, min(max(1, cores // workers), by_memory))


def _kept(engine: ContainerEngine, name: str) -> list[str]:
    try:
        return [test_of(engine, name), *ways_in(engine, name)]
    except SandboxError as error:
        return [f"{name}: {error}"]


def _remove_left_behind(engine: ContainerEngine) -> None:
    try:
        remove_left_behind(engine)
    except SandboxError:  # it was another run's
        _log.debug("what other runs have left behind stays", exc_info=True)


def _reporting(clean_up: Callable[[], object]) -> None:
    """Clean up; what cannot be removed is no reason to fail a run, but is told."""
    try:
        clean_up()
    except SandboxError as error:
        # The terminal reporter may be gone by now, and workers never had one.
        print(f"agent-sandbox: sandboxes may be left: {error}", file=sys.__stderr__)
