"""What the sandbox tests of one pytest process share: engine, images, gateway, secrets to mask."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_agent_sandbox.errors import EngineUnavailable, SandboxError
from pytest_agent_sandbox.plugin.run import (
    end_on_sigterm,
    ledger_file,
    run_id,
)

if TYPE_CHECKING:
    from pytest_agent_sandbox.containers.engine import Engine
    from pytest_agent_sandbox.engines.docker.workspace import DockerWorkspace
    from pytest_agent_sandbox.engines.process.engine import LocalServers
    from pytest_agent_sandbox.engines.remote.engine import RunningServer
    from pytest_agent_sandbox.host.redaction import Redactor
    from pytest_agent_sandbox.llm.budgets import Budget
    from pytest_agent_sandbox.llm.prices import Prices
    from pytest_agent_sandbox.plugin.agent_llm import AgentLLM
    from pytest_agent_sandbox.plugin.report.evidence import RunEvidence
    from pytest_agent_sandbox.plugin.sandboxes import RunSandboxes
    from pytest_agent_sandbox.sandbox.gateway import HostGateway
    from pytest_agent_sandbox.sandbox.served_workspace import ServedWorkspace
    from pytest_agent_sandbox.settings.table import SandboxSettings

    #: What a test may get.
    Workspace = DockerWorkspace | ServedWorkspace

_SECRET_NAME = re.compile("key|token|secret|passw|credential", re.IGNORECASE)


#: Whom a workspace is for that tests share, in place of a test.
SHARED = "(shared)"


class SandboxSession:
    """Owns what outlives a single test; closed when pytest ends.

    Args:
        config: pytest's.
        settings: The settings of the run.
        items: The tests that are going to run.

    Raises:
        SettingsError: The settings contradict one another.
    """

    def __init__(
        self, config: pytest.Config, settings: SandboxSettings, items: Sequence[pytest.Item] = ()
    ) -> None:
        self.settings = settings
        self._items = items
        #: The test that runs, of those with a sandbox.
        self.current_test: pytest.Item | None = None
        #: Whether a test has failed that used the workspace that tests share.
        self.shared_has_failed = False
        self._workspaces: list[tuple[str, Workspace]] = []
        self._lock = threading.Lock()
        self._config = config
        self._engine: Engine | EngineUnavailable | None = None
        self._closing = ExitStack()
        self._gateways: dict[tuple[str | None, str], HostGateway] = {}
        self._prepared: set[tuple[str, str | None, str]] = set()
        #: What serves the tests in place of containers, if the settings say so.
        self.server = self._choose_server()
        self._closing.callback(end_on_sigterm())

    @property
    def engine(self) -> Engine:
        """The container engine.

        Raises:
            EngineUnavailable: None answers. Where the settings say so, the test is skipped instead.
        """
        try:
            return self._connected()
        except EngineUnavailable as error:
            if self.settings.no_engine == "skip":
                pytest.skip(f"sandbox_no_engine = skip: {error}")
            raise

    def _connected(self) -> Engine:
        """The engine; it is looked for once, however often it is asked for."""
        from pytest_agent_sandbox.containers.engine import Engine

        if isinstance(self._engine, EngineUnavailable):
            raise self._engine.with_traceback(None)
        if self._engine is None:
            try:
                self._engine = self._closing.enter_context(Engine.connect())
            except EngineUnavailable as error:
                self._engine = error
                raise
        return self._engine

    @cached_property
    def redactor(self) -> Redactor:
        """Masks the secrets that this run knows."""
        from pytest_agent_sandbox.host.redaction import Redactor

        redactor = Redactor()
        redactor.add(os.environ.get("LLM_API_KEY", ""))
        return redactor

    @cached_property
    def evidence(self) -> RunEvidence:
        """What the run's tests leave behind."""
        from pytest_agent_sandbox.plugin.report.evidence import RunEvidence

        return self._closing.enter_context(RunEvidence(self._config, self.settings, self.redactor))

    def header(self, count: int) -> list[str]:
        """Lines for the top of the terminal: how many tests, which engine, which image."""
        from pytest_agent_sandbox.containers import images

        if self._config.get_verbosity() < 0 or self._config.getoption("collectonly"):
            return []
        noun = "test" if count == 1 else "tests"
        if self.server is not None:
            first, *more = self.server.header()
            return [f"agent-sandbox: {line}" for line in (f"{count} {noun} {first}", *more)]
        try:
            engine = self._connected()
            reference = images.choose_image(
                engine, self.settings.image, platform=self.settings.platform
            )
            image = images.find_local(engine, reference)
            is_apart = engine.is_apart
        except SandboxError as error:
            return [f"agent-sandbox: {str(error).partition('. ')[0]}."]
        described = images.describe(image) if image else f"{reference} (not here yet)"
        where = f"{engine.description} at {engine.endpoint} ({engine.platform})"
        lines = [f"{count} {noun} on {where}", f"image {described}"]
        if is_apart:
            lines.append("the engine's ports are out of reach here: all goes over its connection")
        return [f"agent-sandbox: {line}" for line in lines]

    def choose_image(self, settings: SandboxSettings) -> str:
        """The name of the image that these settings mean; empty where there are no containers."""
        if self.server is not None:
            return ""
        from pytest_agent_sandbox.containers.images import choose_image

        return choose_image(self.engine, settings.image, platform=settings.platform)

    def _prepare_image(self, reference: str, settings: SandboxSettings) -> None:
        """Pulls an image as the settings say, once, with its progress past pytest's capture."""
        wanted = (reference, settings.platform, settings.pull)
        if wanted in self._prepared:
            return
        from pytest_agent_sandbox.containers.images import ensure_image
        from pytest_agent_sandbox.containers.progress import show_progress

        capture = self._config.pluginmanager.get_plugin("capturemanager")
        uncaptured = nullcontext() if capture is None else capture.global_and_fixture_disabled()
        with uncaptured, show_progress(sys.stderr) as progress:
            ensure_image(
                self.engine,
                reference,
                platform=settings.platform,
                pull=settings.pull,
                progress=progress,
            )
        self._prepared.add(wanted)

    def _choose_server(self) -> RunningServer | LocalServers | None:
        if self.settings.url is not None:
            from pytest_agent_sandbox.engines.remote.engine import RunningServer

            return self._closing.enter_context(RunningServer(self.settings))
        if self.settings.engine == "process":
            from pytest_agent_sandbox.engines.process.engine import LocalServers

            return self._closing.enter_context(LocalServers(self.settings))
        return None

    def start_workspace(
        self,
        settings: SandboxSettings,
        image: str,
        *,
        test: str,
        log_path: Path | None = None,
        **options: Any,
    ) -> Workspace:
        """Starts a workspace by settings.

        Args:
            settings: Those of the test.
            image: Name of the image.
            test: Whom it is for, as a label of the container.
            log_path: File for the server's log.
            options: Further arguments of `DockerWorkspace`.
        """
        from pytest_agent_sandbox.engines.docker.workspace import DockerWorkspace

        # A path or a proxy may be forwarded too; only what is named like a secret is masked.
        secret_names = filter(_SECRET_NAME.search, settings.forward_env)
        self.redactor.add(*(os.environ.get(name, "") for name in secret_names))
        if self.server is not None:
            served = self.server.start_workspace(
                settings,
                test=test,
                log_path=log_path,
                clean_log=options.get("clean_log", self.redactor),
                on_secret=self.redactor.add,
            )
            self._remember(test, served)
            return served
        self._prepare_image(image, settings)
        workspace = DockerWorkspace(
            server_image=image,
            pull="never",  # it is ready by now
            on_secret=self.redactor.add,
            engine=self.engine,
            log_path=log_path,
            gateway=self._gateway(settings),
            supply=self.sandboxes.supply,
            **self.sandboxes.plan_options(settings, test),
            **{"clean_log": self.redactor, **options},
        )
        self._remember(test, workspace)
        self.sandboxes.learn(test, workspace.sandbox.plan)
        return workspace

    @cached_property
    def sandboxes(self) -> RunSandboxes:
        """Where the tests' sandboxes come from."""
        from pytest_agent_sandbox.plugin.sandboxes import RunSandboxes

        if self.server is None:
            with suppress(EngineUnavailable):
                self._connected()  # first, to be closed last
        return self._closing.enter_context(
            RunSandboxes(
                self._config,
                self.settings,
                self._items,
                engine=self._connected,
                gateway=self._gateway,
                clean_log=self.redactor,
            )
        )

    def _remember(self, test: str, workspace: Workspace) -> None:
        with self._lock:  # several may be started at once
            there = [one for one in self._workspaces if not one[1].is_closed]
            self._workspaces = [*there, (test, workspace)]

    def begin_test(self, item: pytest.Item) -> None:
        """Begins the evidence of a test; in the workspace that tests share, no agent was yet."""
        self.current_test = item
        self.evidence.recorder(item)
        for test, workspace in self._workspaces:
            if test == SHARED:
                workspace.before_agents = None
                workspace.no_snapshot = ""

    def workspaces_of(self, item: pytest.Item) -> list[Workspace]:
        """The workspaces that a test and its fixtures use, as far as they are still there."""
        tests = {item.nodeid}
        if "shared_agent_workspace" in getattr(item, "fixturenames", ()):
            tests.add(SHARED)
        return [
            workspace
            for test, workspace in self._workspaces
            if test in tests and not workspace.is_closed
        ]

    def keeps(self, *, failed: bool) -> bool:
        """Whether sandboxes stay that were used by tests of which one failed, or none did."""
        return self.settings.keep == "all" or (self.settings.keep == "failed" and failed)

    def normaliser(self, item: pytest.Item, settings: SandboxSettings) -> Callable[[str], str]:
        """Puts names in the place of what is different in each run of a test."""
        from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser

        normalise = Normaliser(self.redactor, settings.llm_volatile)

        def apply(text: str) -> str:
            for workspace in self.workspaces_of(item):
                normalise.learn(workspace.identity)
            return normalise(text)

        return apply

    def _gateway(self, settings: SandboxSettings) -> HostGateway:
        """The run's gateway for sandboxes on a network; it starts with its first lane."""
        from pytest_agent_sandbox.engines.docker.security import chosen_network
        from pytest_agent_sandbox.sandbox.gateway import HostGateway

        network = chosen_network(settings.security, settings.network)
        place = (settings.gateway_address, network)
        if place not in self._gateways:
            self._gateways[place] = self._closing.enter_context(
                HostGateway(self.engine, address=place[0], network=place[1])
            )
        return self._gateways[place]

    @cached_property
    def _llm_budget(self) -> Budget:
        """What all tests of the run, in all its processes, may spend on live LLMs."""
        from pytest_agent_sandbox.llm.budgets import Budget, Limits, SharedLedger

        settings = self.settings
        limits = Limits(settings.llm_max_cost, settings.llm_max_tokens, settings.llm_max_calls)
        return Budget("run", limits, SharedLedger(ledger_file(run_id(self._config))))

    @cached_property
    def _prices(self) -> Prices:
        from pytest_agent_sandbox.llm.prices import Prices

        file = self.settings.llm_prices
        return Prices.load(Path(self._config.rootpath, file)) if file else Prices()

    def agent_llm(
        self, item: pytest.Item, settings: SandboxSettings, own: SandboxSettings
    ) -> AgentLLM:
        """What answers a test's LLM calls.

        Args:
            item: The test.
            settings: Its settings.
            own: What its markers say, and nothing else.

        Raises:
            SettingsError: The file of prices cannot be used.
        """
        from pytest_agent_sandbox.plugin.agent_llm import AgentLLM
        from pytest_agent_sandbox.plugin.cassette_files import cassette_file, own_node_id

        return AgentLLM(
            test=own_node_id(item.nodeid),
            cassette=cassette_file(item.path, item.nodeid, settings.llm_cassettes),
            settings=settings,
            own=own,
            prices=self._prices,
            run_budget=self._llm_budget,
            secrets=self.redactor,
        )

    def close(self) -> None:
        """Closes all that is shared, and the connection to the engine; nothing of ours is left."""
        self._closing.close()
