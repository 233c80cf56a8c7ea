"""The sandboxes of one pytest process: which are wanted next, and where they come from."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any, Self

import pytest

from pytest_agent_sandbox.containers.cleanup import remove_labelled, remove_left_behind
from pytest_agent_sandbox.containers.engine import Engine
from pytest_agent_sandbox.containers.images import choose_image, find_local
from pytest_agent_sandbox.containers.watcher import Watcher
from pytest_agent_sandbox.engines.docker.plan import ANY_TEST, TEST_LABEL, SandboxPlan, plan_sandbox
from pytest_agent_sandbox.engines.docker.sandbox_supply import SandboxSupply
from pytest_agent_sandbox.engines.docker.supply_statistics import SupplyStatistics
from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host.ownership import OWNER
from pytest_agent_sandbox.plugin.options import MARKER, for_test
from pytest_agent_sandbox.plugin.prestart import Forecast, is_overridden
from pytest_agent_sandbox.plugin.run import run_id, worker_count, worker_id
from pytest_agent_sandbox.sandbox.gateway import HostGateway
from pytest_agent_sandbox.settings.table import SandboxSettings

_log = logging.getLogger(__name__)


# What an idle agent server takes, and some more: 1.58 takes 310 MB.
_MEMORY_OF_ONE = 450_000_000
# The part of the engine's memory that sandboxes may take, used ones included.
_PART_OF_MEMORY = 0.5


def pool_size(engine: Engine, workers: int) -> int:
    """How many sandboxes each of the run's processes should have ready.

    As many as the engine has cores, for a start takes one for five seconds; shared among the
    processes, but at least one each, as far as the memory goes.

    Args:
        engine: The engine.
        workers: How many processes there are.

    Raises:
        EngineUnavailable: The engine did not answer.
    """
    with engine.calling("describe itself"):
        info: dict[str, Any] = engine.client.info()
    cores, memory = int(info.get("NCPU") or 1), int(info.get("MemTotal") or 0)
    by_memory = int(memory * _PART_OF_MEMORY / _MEMORY_OF_ONE) // workers - 1  # one is in use
    return max(0, min(max(1, cores // workers), by_memory))


class RunSandboxes:
    """Has sandboxes ready for the tests to come, and nothing left behind at the end.

    Args:
        config: pytest's.
        settings: The settings of the run.
        items: The tests that are going to run.
        engine: Connects to the engine, the first time.
        gateway: The LLM gateway for sandboxes with some settings.
        clean_log: Masks secrets in the logs of sandboxes that nobody has yet.
    """

    def __init__(
        self,
        config: pytest.Config,
        settings: SandboxSettings,
        items: Sequence[pytest.Item],
        *,
        engine: Callable[[], Engine],
        gateway: Callable[[SandboxSettings], HostGateway],
        clean_log: Callable[[str], str],
    ) -> None:
        self._config = config
        self._settings = settings
        self._engine = engine
        self._gateway = gateway
        self._clean_log = clean_log
        self._forecast = Forecast(items, worker_count(config), self._guess_plan)
        self._closing = ExitStack()

    def begin(self, item: pytest.Item, next_item: pytest.Item | None) -> None:
        """Say which test begins, and which one follows in this process."""
        self._forecast.begin(item, next_item)
        self.start_ahead()

    def learn(self, test: str, plan: SandboxPlan) -> None:
        """Say by which plan a test has got a sandbox."""
        self._forecast.learn(test, plan)
        self.start_ahead()

    def start_ahead(self) -> None:
        """Have sandboxes ready for the next tests, as far as can be told what they will want."""
        try:
            plans = self._forecast.upcoming(self._pool_size) if self._pool_size else []
            if plans or self._has_supply:
                self.supply.prepare(plans)
        except (SandboxError, OSError):  # a test that meets it too says so
            _log.debug("no sandboxes are started ahead", exc_info=True)

    def plan_options(self, settings: SandboxSettings, test: str) -> dict[str, Any]:
        """What settings mean for a test's sandbox, as arguments of `DockerWorkspace`."""
        looked_into = settings.extra_ports
        return {
            "platform": settings.platform,
            "memory": settings.memory,
            "cpus": settings.cpus,
            "pids_limit": settings.pids,
            "network": settings.network,
            "allow": list(settings.allow),
            "security": settings.security,
            "runtime": settings.runtime,
            "user": settings.user,
            "volumes": list(settings.volumes),
            "files": list(settings.files),
            "forward_env": list(settings.forward_env),
            "enable_gpu": settings.gpu,
            "working_dir": settings.working_dir,
            "health_check_timeout": settings.start_timeout,
            "isolation": settings.isolation,
            "extra_ports": self._is_held if looked_into is None else looked_into,
            "labels": {
                "run": run_id(self._config),
                "worker": worker_id(self._config),
                TEST_LABEL: test,
            },
        }

    @property
    def statistics(self) -> SupplyStatistics:
        """How the tests got their sandboxes so far."""
        return self.supply.statistics if self._has_supply else SupplyStatistics()

    @cached_property
    def supply(self) -> SandboxSupply:
        """Where the sandboxes come from, from the first one on.

        Raises:
            EngineUnavailable: No engine answers.
        """
        engine = self._engine()
        watcher = self._closing.enter_context(Watcher(engine.owner.id))
        owned = {OWNER: engine.owner.id}
        self._closing.callback(_telling, lambda: remove_labelled(engine, owned))
        supply = SandboxSupply(
            engine,
            size=self._pool_size,
            most_reuses=self._settings.max_reuses,
            clean_log=self._clean_log,
        )
        watcher.add_file(supply.scratch)
        self._closing.callback(_telling, supply.close)
        supply.do_later(lambda: _remove_left_behind(engine))
        return supply

    def close(self) -> None:
        """Remove all sandboxes, and wait for that."""
        self._closing.close()

    @property
    def _has_supply(self) -> bool:
        return "supply" in self.__dict__

    @property
    def _is_held(self) -> bool:
        """Whether people may look into sandboxes of this run."""
        is_debugged = self._settings.pause_on_failure or self._config.getoption("usepdb", False)
        return bool(is_debugged) or self._settings.keep != "none"

    @cached_property
    def _pool_size(self) -> int:
        """How many sandboxes to start ahead."""
        if self._settings.url is not None or self._settings.engine == "process":
            return 0
        if self._config.getoption("collectonly") or self._config.getoption("setupplan", False):
            return 0
        if self._settings.pool_size is not None:
            return self._settings.pool_size
        if self._is_held:
            return 0  # a sandbox that people look into says for which test it was started
        try:
            return pool_size(self._engine(), worker_count(self._config))
        except SandboxError:  # the tests say so
            return 0

    def _guess_plan(self, item: pytest.Item) -> SandboxPlan | None:
        """The plan by which a test will have its sandbox, if nothing but settings decides that."""
        if is_overridden(item):
            return None
        try:
            settings = for_test(self._settings, item.iter_markers(MARKER))
            engine = self._engine()
            reference = choose_image(engine, settings.image, platform=settings.platform)
            image = find_local(engine, reference)
            if image is None or settings.pull == "always":
                return None  # the first test waits for it, and shows its progress
            return plan_sandbox(
                image,
                self._gateway(settings).way,
                desktop=settings.video != "none",
                **self.plan_options(settings, ANY_TEST),
            )
        except SandboxError:  # the test itself says so
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _remove_left_behind(engine: Engine) -> None:
    try:
        remove_left_behind(engine)
    except SandboxError:  # it was another run's
        _log.debug("what other runs have left behind stays", exc_info=True)


def _telling(clean_up: Callable[[], object]) -> None:
    """Cleans up; what cannot be removed is no reason to fail a run, but is told."""
    try:
        clean_up()
    except SandboxError as error:
        # The terminal reporter may be gone by now, and workers never had one.
        print(f"agent-sandbox: sandboxes may be left: {error}", file=sys.__stderr__)
