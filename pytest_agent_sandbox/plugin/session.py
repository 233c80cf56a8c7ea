"""What the sandbox tests of one pytest process share: engine, images, gateway, secrets to mask."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_agent_sandbox.engines.engine import EngineContext, SandboxEngine, SandboxRequest
from pytest_agent_sandbox.engines.registry import make_engine
from pytest_agent_sandbox.errors import EngineUnavailable, SandboxError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.host.secret_variables import secrets_of
from pytest_agent_sandbox.plugin.prestart import Prestart
from pytest_agent_sandbox.plugin.pytest_run import (
    end_on_sigterm,
    ledger_file,
    run_id,
    worker_count,
    worker_id,
)

if TYPE_CHECKING:
    from pytest_agent_sandbox.host.redaction import Redactor
    from pytest_agent_sandbox.llm.budgets import Budget
    from pytest_agent_sandbox.llm.prices import Prices
    from pytest_agent_sandbox.plugin.agent_llm import AgentLLM
    from pytest_agent_sandbox.plugin.report.evidence import RunEvidence
    from pytest_agent_sandbox.sandbox.workspace import Workspace
    from pytest_agent_sandbox.settings.table import SandboxSettings

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
        #: The test that runs, of those with a sandbox.
        self.current_test: pytest.Item | None = None
        #: Whether a test has failed that used the workspace that tests share.
        self.shared_has_failed = False
        self._workspaces: list[tuple[str, Workspace]] = []
        self._lock = threading.Lock()
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
        log_path: Path | None = None,
        clean_log: Callable[[str], str] | None = None,
    ) -> Workspace:
        """Start a workspace by settings.

        Args:
            settings: Those of the test.
            image: Name of the image.
            test: Whom it is for: the id of a test, or `SHARED`.
            log_path: File for the server's log.
            clean_log: Given each line of the log before it is written.
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
        )
        workspace = engine.start(request)
        self._remember(test, workspace)
        self.prestart.learn(test, request)
        return workspace

    def _remember(self, test: str, workspace: Workspace) -> None:
        with self._lock:  # several may be started at once
            there = [one for one in self._workspaces if not one[1].is_closed]
            self._workspaces = [*there, (test, workspace)]

    def begin_test(self, item: pytest.Item) -> None:
        """Begin the evidence of a test; in the workspace that tests share, no agent was yet."""
        self.current_test = item
        seldom.begin_anew()
        self.evidence.recorder(item)
        for test, workspace in self._workspaces:
            if test == SHARED:
                workspace.before_agents = None
                workspace.no_snapshot = ""

    def workspaces_of(self, item: pytest.Item) -> list[Workspace]:
        """Return the workspaces that a test and its fixtures use, of those still there."""
        tests = {item.nodeid}
        if "shared_agent_workspace" in getattr(item, "fixturenames", ()):
            tests.add(SHARED)
        return [
            workspace
            for test, workspace in self._workspaces
            if test in tests and not workspace.is_closed
        ]

    def keeps(self, *, failed: bool) -> bool:
        """Tell whether sandboxes stay whose tests failed, or did not."""
        return self.settings.keep == "all" or (self.settings.keep == "failed" and failed)

    def normaliser(self, item: pytest.Item, settings: SandboxSettings) -> Callable[[str], str]:
        """Return what puts names in the place of what differs in each run of a test."""
        from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser

        normalise = Normaliser(self.redactor, settings.llm_volatile)

        def apply(text: str) -> str:
            for workspace in self.workspaces_of(item):
                normalise.learn(workspace.identity)
            return normalise(text)

        return apply

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
        self._closing.close()
