"""The services of one pytest process: which tests they are for, and which sandboxes reach them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_agent_sandbox.errors import SandboxDied, SandboxError, SettingsError
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.plugin.report import collect, outcome
from pytest_agent_sandbox.plugin.trials.marks import trial_of
from pytest_agent_sandbox.plugin.wider_scopes import scope_node
from pytest_agent_sandbox.sandbox.forwards import addresses_inside
from pytest_agent_sandbox.sandbox.services.log_stamps import stamped
from pytest_agent_sandbox.sandbox.services.services import Services

if TYPE_CHECKING:
    from pytest_agent_sandbox.plugin.session import SandboxSession
    from pytest_agent_sandbox.sandbox.services.running_service import RunningService
    from pytest_agent_sandbox.sandbox.services.service import Service
    from pytest_agent_sandbox.sandbox.services.starting import ServicesStart
    from pytest_agent_sandbox.sandbox.workspace import Workspace


@dataclass(eq=False)
class _Set:
    """Services that were started together, and whose they are."""

    specs: Mapping[str, Service]
    image: str
    scope: str
    start: ServicesStart | None = None
    services: Services | None = None
    #: How many tests have had them.
    tests: int = 0
    is_closed: bool = False
    #: Where the logs stood when the test under way began, by name.
    log_begins: dict[str, int] = field(default_factory=dict)
    #: Held by the thread that waits for the start.
    waiting: threading.Lock = field(default_factory=threading.Lock)

    def running(self) -> list[RunningService]:
        return [] if self.services is None else list(self.services)

    def is_gone(self) -> bool:
        try:
            for service in self.running():
                service.check()
        except SandboxDied:
            return True
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True
        with ExitStack() as closing:
            if self.start is not None:
                closing.callback(self.start.close)


class ServiceSets(Closing):
    """Knows the services of this process, and which of them the test under way uses.

    Args:
        session: What the run shares.
    """

    def __init__(self, session: SandboxSession) -> None:
        self._session = session
        session.uses.on_use, session.uses.on_close = self.join, self.leave
        #: Those that go on after a test.
        self._wider: dict[Hashable, _Set] = {}
        #: Those that the test under way uses.
        self._used: list[_Set] = []
        self._joined: dict[Workspace, dict[_Set, Closing]] = {}
        self._is_watched = False
        self._lock = threading.RLock()

    def begin(
        self,
        item: pytest.Item,
        scope: str,
        specs: Mapping[str, Service],
        image: str,
        reset: Callable[[Services], object] | None,
    ) -> Callable[[], Services]:
        """Begin the start of services, and return what waits for them.

        Args:
            item: The test.
            scope: How long they live.
            specs: What they are to be, by their names.
            image: The sandboxes' image.
            reset: Called with those that an earlier test has had.

        Raises:
            SettingsError: A value cannot be used, or a name is taken.
            SandboxError: An image cannot be had.
        """
        with self._lock:
            found, is_known = self._begin(item, scope, specs, image)
        return (
            partial(self._again, item, found, reset)
            if is_known
            else partial(self._wait, item, found)
        )

    def names(self) -> dict[str, str]:
        """Return the names of services that sandboxes of the test under way shall know."""
        return addresses_inside((name, 0) for one in self._used for name in one.specs)

    def join(self, workspace: Workspace) -> None:
        """Have a sandbox that the test under way uses reach its services."""
        for one in list(self._used):
            self._join(workspace, one)

    def leave(self, workspace: Workspace) -> None:
        """Say that a workspace is going to be closed."""
        with self._lock:
            joined = self._joined.pop(workspace, {})
        for one in joined.values():
            with suppress(SandboxError):
                one.close()

    def check(self) -> None:
        """Raise if a service has ended that the test under way uses, until its function is over.

        Raises:
            SandboxDied: So it is; the note holds its log.
        """
        if self._is_watched:
            for one in list(self._used):
                for service in one.running():
                    if service.is_expected_to_run:
                        service.check()

    def identity(self) -> dict[str, str]:
        """Return what is different in each run of what the test under way uses."""
        return {
            value: kind
            for one in self._used
            for service in one.running()
            for value, kind in service.identity.items()
        }

    def function_is_over(self) -> None:
        """Say that the test's function is over: what a service does is of no interest any more."""
        self._is_watched = False

    def end_of(self, item: pytest.Item) -> None:
        """End what is of a test alone, and its use of the others."""
        self.function_is_over()
        used, self._used = self._used, []
        keeps = self._session.keeps(failed=outcome.failed(item))
        with ExitStack() as closing:
            for workspace in list(self._joined):
                closing.callback(self.leave, workspace)
            for one in used:
                if one not in self._wider.values():
                    closing.callback(one.close)
                closing.callback(self._tell_end, item, one, keeps)

    def close(self) -> None:
        """Close all that is left."""
        with ExitStack() as closing:
            for one in [*self._used, *self._wider.values()]:
                closing.callback(one.close)

    def _begin(
        self, item: pytest.Item, scope: str, specs: Mapping[str, Service], image: str
    ) -> tuple[_Set, bool]:
        """Return services that have begun to start, and whether an earlier test has had them."""
        taken = {name for one in self._used for name in one.specs}
        node = scope_node(item, scope)
        trial = trial_of(item)
        # A trial must not find what another one of the same test has left.
        number = trial.number if trial is not None else 0
        what = (image, repr(sorted(specs.items())), *_environments(specs))
        key = (node.nodeid, scope, number, *what)
        if node is not item and key in self._wider and not self._wider[key].is_gone():
            found = self._wider[key]
            if found not in self._used:
                _check_free(specs, taken)
                self._use(found)
                return found, True
            return found, False
        _check_free(specs, taken)
        found = _Set(specs, image, scope)
        if node is not item:
            if key in self._wider:
                self._end(key, self._wider[key])
            self._wider[key] = found
            node.addfinalizer(partial(self._end, key, found))
        self._use(found)
        try:
            found.start = self._session.start_services(
                specs,
                image,
                test=item.nodeid if node is item else "(several)",
                log_path=self._new_log(item, scope),
                clean=stamped(self._session.redactor),
            )
        except BaseException:
            self._forget(found)
            raise
        return found, False

    def _use(self, found: _Set) -> None:
        self._used.append(found)
        self._is_watched = True
        found.tests += 1
        found.log_begins = {
            service.name: service.log_path.stat().st_size for service in found.running()
        }

    def _forget(self, found: _Set) -> None:
        found.close()
        self._used = [one for one in self._used if one is not found]
        self._wider = {key: one for key, one in self._wider.items() if one is not found}

    def _wait(self, item: pytest.Item, found: _Set) -> Services:
        with found.waiting:
            if found.services is None:
                assert found.start is not None
                try:
                    # A service that is there already may end meanwhile.
                    running = found.start.wait(self.check)
                except BaseException:
                    self._forget(found)
                    raise
                found.services = Services({service.name: service for service in running})
                self._tell_start(item, found)
        for workspace in self._session.uses.open():
            self._join(workspace, found)
        return found.services

    def _again(
        self, item: pytest.Item, found: _Set, reset: Callable[[Services], object] | None
    ) -> Services:
        services = self._wait(item, found)
        self._tell_start(item, found)
        if reset is not None:
            reset(services)
        return services

    def _join(self, workspace: Workspace, found: _Set) -> None:
        if found.services is None:
            return
        with self._lock:  # threads may start services, and workspaces, at once
            joined = self._joined.setdefault(workspace, {})
            if found not in joined:
                joined[found] = workspace.join(found.running())
        workspace.connection.watch = self.check

    def _end(self, key: Hashable, found: _Set) -> None:
        if self._wider.get(key) is found:
            del self._wider[key]
        found.close()

    def _new_log(self, item: pytest.Item, scope: str) -> Callable[[str], Path]:
        if scope == "function":
            return self._session.evidence.recorder(item).new_service_log
        return lambda name: self._session.new_log(f"service-{name}")

    def _tell_start(self, item: pytest.Item, found: _Set) -> None:
        recorder = self._session.evidence.recorder(item)
        for service in found.running():
            facts = service.facts()
            if found.tests > 1:
                facts.pop("start_seconds", None)
                facts["earlier tests with it"] = found.tests - 1
            with collect.MAY_FAIL:
                recorder.record_service(
                    service.name, **{"runs in": service.container.name, **facts}
                )

    def _tell_end(self, item: pytest.Item, found: _Set, keeps: bool) -> None:
        evidence = self._session.evidence
        recorder = evidence.recorder(item)
        for service in found.running():
            with collect.MAY_FAIL:
                recorder.record_service(service.name, state=service.state())
                if found.scope != "function" and evidence.wants_evidence(item):
                    begin = found.log_begins.get(service.name, 0)
                    part = recorder.new_service_log(service.name)
                    collect.log_part(recorder, service.log_path, begin, part)
            if keeps and found.scope == "function":
                service.keep()
                with collect.MAY_FAIL:
                    recorder.record_service(service.name, **{"kept as": service.container.name})


def _check_free(specs: Mapping[str, Service], taken: set[str]) -> None:
    for name in specs:
        if name in taken:
            raise SettingsError(f"agent_services: this test has a service {name!r} already")


def _environments(specs: Mapping[str, Service]) -> list[Hashable]:
    """Return what the representation of services leaves out."""
    return [tuple(sorted(spec.env.items())) for _, spec in sorted(specs.items())]
