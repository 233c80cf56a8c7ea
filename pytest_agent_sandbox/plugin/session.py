"""What the sandbox tests of one pytest process share: engine, images, gateway, secrets to mask."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_agent_sandbox.engines.engine import (
    EngineContext,
    SandboxEngine,
    SandboxRequest,
    ServicesRequest,
)
from pytest_agent_sandbox.engines.registry import make_engine
from pytest_agent_sandbox.errors import EngineUnavailable, SandboxError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.host.scratch import ScratchFolder
from pytest_agent_sandbox.host.secret_variables import secrets_of
from pytest_agent_sandbox.plugin.prestart import Prestart
from pytest_agent_sandbox.plugin.pytest_run import (
    end_on_sigterm,
    ledger_file,
    run_id,
    worker_count,
    worker_id,
)
from pytest_agent_sandbox.plugin.report.uses import SandboxUses
from pytest_agent_sandbox.plugin.wider_scopes import ScopedWorkspaces, close_all

if TYPE_CHECKING:
    from pytest_agent_sandbox.host.redaction import Redactor
    from pytest_agent_sandbox.llm.budgets import Budget
    from pytest_agent_sandbox.llm.prices import Prices
    from pytest_agent_sandbox.plugin.agent_llm import AgentLLM
    from pytest_agent_sandbox.plugin.report.evidence import RunEvidence
    from pytest_agent_sandbox.plugin.service_sets import ServiceSets
    from pytest_agent_sandbox.sandbox.services.service import Service
    from pytest_agent_sandbox.sandbox.services.starting import ServicesStart
    from pytest_agent_sandbox.sandbox.workspace import Workspace
    from pytest_agent_sandbox.settings.table import SandboxSettings


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
        #: Which sandboxes the tests use.
        self.uses = SandboxUses(lambda: self.evidence, lambda failed: self.keeps(failed=failed))
        #: The workspaces that go on after a test.
        self.open_for_several: list[Workspace] = []
        #: Those of markers.
        self.scoped = ScopedWorkspaces(self)
        #: Whether a test has asked for services.
        self.has_services = False
        self._logs = itertools.count(1)
        self._config = config
        self._closing = ExitStack()
        #: What the sandboxes run in.
        self.engine = make_engine(self._context())
        self._closing.callback(end_on_sigterm())  # undone last: the clean-up is not cut short
        self._closing.enter_context(self.engine)
        #: Has sandboxes ready for the tests to come.
        self.prestart = Prestart(
            items, self.engine, settings, self.request, workers=worker_count(config)
        )

    def _context(self) -> EngineContext:
        config = self._config
        is_dry = config.getoption("collectonly") or config.getoption("setupplan", False)
        return EngineContext(
            settings=self.settings,
            run=run_id(config),
            worker=worker_id(config),
            workers=worker_count(config),
            may_prepare=not is_dry,
            is_looked_into=self._is_looked_into,
            mask=self.redactor,
            uncaptured=self._uncaptured,
        )

    @property
    def _is_looked_into(self) -> bool:
        """Whether people may look into sandboxes of this run."""
        is_debugged = self.settings.pause_on_failure or self._config.getoption("usepdb", False)
        return bool(is_debugged) or self.settings.keep != "none"

    def _uncaptured(self) -> AbstractContextManager[object]:
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        if capture is None:
            return nullcontext()
        uncaptured: AbstractContextManager[object] = capture.global_and_fixture_disabled()
        return uncaptured

    def _connected(self) -> SandboxEngine:
        """Return the engine once it answers; where the settings say so, the test is skipped else.

        Raises:
            EngineUnavailable: It does not answer.
        """
        try:
            self.engine.connect()
        except EngineUnavailable as error:
            if self.settings.no_engine == "skip":
                from pytest_agent_sandbox.plugin.report.skips import NO_ENGINE

                pytest.skip(f"{NO_ENGINE}: {error}")
            raise
        return self.engine

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
        """Return lines for the top of the terminal: how many tests, which engine, which image."""
        if self._config.get_verbosity() < 0 or self._config.getoption("collectonly"):
            return []
        try:
            first, *more = self.engine.header() or [""]
        except SandboxError as error:
            return [f"agent-sandbox: {str(error).partition('. ')[0]}."]
        noun = "test" if count == 1 else "tests"
        return [f"agent-sandbox: {line}" for line in (f"{count} {noun} {first}", *more)]

    def choose_image(self, settings: SandboxSettings) -> str:
        """Return the name of the image that these settings mean; empty where there are none."""
        return self._connected().choose_image(settings)

    def request(self, settings: SandboxSettings, image: str, **details: Any) -> SandboxRequest:
        """Make a request for a sandbox of this run.

        Args:
            settings: Those of the test.
            image: Name of the image.
            details: What else there is to say: see `SandboxRequest`.

        Raises:
            SettingsError: A setting of the test makes no sense with the run's engine.
        """
        self.engine.check(settings)
        if settings.extra_ports is None:
            settings = replace(settings, extra_ports=self._is_looked_into)
        labels = {"run": run_id(self._config), "worker": worker_id(self._config)}
        return SandboxRequest(settings=settings, image=image, labels=labels, **details)

    def start_workspace(
        self,
        settings: SandboxSettings,
        image: str,
        *,
        test: str,
        log_path: Path,
        clean_log: Callable[[str], str] | None = None,
        first_test: str = "",
    ) -> Workspace:
        """Start a workspace by settings.

        Args:
            settings: Those of the test.
            image: Name of the image.
            test: Whom it is for: the id of a test, or what shares it.
            log_path: File for the server's log.
            clean_log: Given each line of the log before it is written.
            first_test: The test that has been expected to ask for it, where that is another.
        """
        variables = {name: os.environ.get(name, "") for name in settings.forward_env}
        self.redactor.add(*secrets_of(variables))
        engine = self._connected()
        request = self.request(
            settings,
            image,
            test=test,
            log_path=log_path,
            clean_log=clean_log or self.redactor,
            on_secret=self.redactor.add,
            hosts=self.services.names() if self.has_services else {},
        )
        workspace = engine.start(request)
        self.prestart.learn(first_test or test, request)
        return workspace

    @cached_property
    def _scratch(self) -> Path:
        return self._closing.enter_context(ScratchFolder()).path

    def new_log(self, name: str = "container") -> Path:
        """Return a path for the log of something that goes on after a test."""
        return self._scratch / f"{name}-{next(self._logs)}.log"

    @cached_property
    def services(self) -> ServiceSets:
        """The services of this process."""
        from pytest_agent_sandbox.plugin.service_sets import ServiceSets

        self.has_services = True
        return self._closing.enter_context(ServiceSets(self))

    def start_services(
        self,
        specs: Mapping[str, Service],
        image: str,
        *,
        test: str,
        log_path: Callable[[str], Path],
        clean: Callable[[str], str],
    ) -> ServicesStart:
        """Begin the start of services.

        Args:
            specs: What they are to be, by their names.
            image: The sandboxes' image.
            test: Whom they are for.
            log_path: Returns the file for the log of a service, by its name.
            clean: Given each line of a log before it is written.
        """
        for spec in specs.values():
            # What a test has written down is no secret; what it has from outside is.
            outside = {
                key: value for key, value in spec.env.items() if value in os.environ.values()
            }
            self.redactor.add(*secrets_of(outside))
        labels = {"run": run_id(self._config), "worker": worker_id(self._config), "test": test}
        return self._connected().start_services(
            ServicesRequest(
                services=specs,
                image=image,
                settings=self.settings,
                labels=labels,
                log_path=log_path,
                scratch=self._scratch,
                clean=clean,
            )
        )

    def begin_test(self, item: pytest.Item, *, has_evidence: bool) -> None:
        """Begin an attempt at a test.

        Args:
            item: The test.
            has_evidence: Whether it asks for a sandbox; another one has evidence once it uses one.
        """
        seldom.begin_anew()
        if has_evidence:
            self.evidence.recorder(item)
        self.uses.begin(item)

    def keeps(self, *, failed: bool) -> bool:
        """Tell whether sandboxes stay whose tests failed, or did not."""
        return self.settings.keep == "all" or (self.settings.keep == "failed" and failed)

    def normaliser(self, settings: SandboxSettings) -> Callable[[str], str]:
        """Return what puts names in the place of what differs in each run of a test."""
        from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser

        normalise = Normaliser(self.redactor, settings.llm_volatile)

        def apply(text: str) -> str:
            for workspace in self.uses.open():
                normalise.learn(self.identity(workspace))
            return normalise(text)

        return apply

    def identity(self, workspace: Workspace) -> Mapping[str, str]:
        """Return what is different in each run of a test, in a workspace and beside it."""
        beside = self.services.identity() if self.has_services else {}
        return {**beside, **workspace.identity}

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
        """Make what answers a test's LLM calls.

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
        """Close all that is shared; nothing of ours is left on the engine."""
        with self._closing:
            close_all(self.open_for_several)
