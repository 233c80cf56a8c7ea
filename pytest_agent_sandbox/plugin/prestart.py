"""Which sandboxes the tests to come will ask for, so that their engine can start them ahead."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from types import CodeType

import pytest

from pytest_agent_sandbox.engines.engine import SandboxEngine, SandboxRequest
from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.plugin.options import (
    MARKER,
    SCOPES,
    SERVICES_MARKER,
    for_test,
    scope_of,
)
from pytest_agent_sandbox.plugin.service_files import names_of_marks
from pytest_agent_sandbox.plugin.skip_forecast import will_be_skipped
from pytest_agent_sandbox.plugin.trials.marks import trial_of
from pytest_agent_sandbox.plugin.wider_scopes import scope_node
from pytest_agent_sandbox.sandbox.forwards import addresses_inside
from pytest_agent_sandbox.settings.table import SandboxSettings

#: Fixtures by which a conftest.py may change what the settings say.
_OVERRIDABLE = ("sandbox_settings", "sandbox_image")


def wants_workspace(item: pytest.Item) -> bool:
    """Tell whether a test asks for a workspace of its own, as far as can be seen beforehand."""
    names = getattr(item, "fixturenames", ())
    if "agent_workspace" in names:
        return True
    if "agent_conversation" not in names or "shared_agent_workspace" in names:
        return False
    return not _says_where(getattr(getattr(item, "function", None), "__code__", None))


def _says_where(code: CodeType | None) -> bool:
    """Tell whether a function has a call with `workspace=…`, as of `agent_conversation`."""
    for constant in code.co_consts if code is not None else ():
        if isinstance(constant, CodeType) and _says_where(constant):
            return True
        # The names of a call's keyword arguments are a constant.
        if isinstance(constant, tuple) and "workspace" in constant:
            return True
    return False


def _first_of_scopes(items: Iterable[pytest.Item]) -> Iterator[pytest.Item]:
    """Yield the tests that want a workspace, without those that find one in their scope."""
    begun: set[Hashable] = set()
    for item in filter(wants_workspace, items):
        scope = scope_of(item.iter_markers(MARKER))
        if scope in SCOPES[1:]:
            trial = trial_of(item)
            number = trial.number if trial is not None else 0
            key = (scope_node(item, scope).nodeid, scope, _settings_of(item), number)
            if key in begun:
                continue
            begun.add(key)
        yield item


@dataclass(frozen=True)
class _Test:
    node_id: str
    #: Tests with the same markers get the same sandboxes, but where fixtures say otherwise.
    settings: str
    item: pytest.Item

    @property
    def kind(self) -> Hashable:
        """What it has in common with the tests that start a workspace where it does."""
        return (*getattr(self.item, "fixturenames", ()), self.settings)


class Forecast:
    """Knows which tests of the run want workspaces, and what earlier ones have asked for.

    Args:
        items: All tests, in order.
        workers: How many processes share them; which one gets which test only xdist knows.
        guess: The request of a test, where no test like it has had a sandbox so far; None where
            that cannot be told.
    """

    def __init__(
        self,
        items: Iterable[pytest.Item],
        workers: int,
        guess: Callable[[pytest.Item], SandboxRequest | None],
    ) -> None:
        self._tests = [
            _Test(item.nodeid, _settings_of(item), item) for item in _first_of_scopes(items)
        ]
        self._places = {test.node_id: place for place, test in enumerate(self._tests)}
        self._workers = workers
        self._guess = guess
        self._requests: dict[str, SandboxRequest | None] = {}
        #: The test that is under way, and the next one.
        self._coming: list[pytest.Item] = []
        self._is_last = False
        self._from = 0
        #: The place of the last test that has begun, and the kinds that have asked for nothing.
        self._begun: int | None = None
        self._idle: set[Hashable] = set()

    def begin(self, item: pytest.Item, next_item: pytest.Item | None) -> None:
        """Say which test begins, and which one follows in this process."""
        self._coming = [item] if next_item is None else [item, next_item]
        self._is_last = next_item is None
        place = self._places.get(item.nodeid)
        if place is not None:
            if self._begun is not None and self._begun >= self._from:
                self._note_idle(self._tests[self._begun])
            self._from = self._begun = place

    def _note_idle(self, test: _Test) -> None:
        if "agent_workspace" not in getattr(test.item, "fixturenames", ()):
            self._idle.add(test.kind)  # all its conversations were in workspaces of others

    def learn(self, node_id: str, request: SandboxRequest) -> None:
        """Say by which request a test has got a sandbox; its first one counts."""
        place = self._places.get(node_id)
        if place is None or place < self._from:
            return  # of no test that was counted, or of one that has had its first
        self._idle.discard(self._tests[place].kind)
        self._requests[self._tests[place].settings] = request
        self._from = place + 1

    def find(self, node_id: str) -> pytest.Item | None:
        """Return a test that wants a workspace, by its id."""
        place = self._places.get(node_id)
        return None if place is None else self._tests[place].item

    def upcoming(self, number: int) -> list[SandboxRequest]:
        """Return the requests of the next tests that want a workspace, up to a number."""
        tests = self._tests[self._from : self._from + number]
        if self._workers > 1:
            tests = self._of_this_worker(number)
        requests = [self._request(test) for test in tests if test.kind not in self._idle]
        return [request for request in requests if request is not None]

    def _of_this_worker(self, number: int) -> list[_Test]:
        """Xdist hands out tests in about their order, and always tells the next one."""
        known = [self._places[one.nodeid] for one in self._coming if one.nodeid in self._places]
        # A test that has its sandbox needs no other.
        tests = [self._tests[place] for place in known if place >= self._from]
        if not self._is_last:
            tests += self._tests[max([*known, self._from - 1]) + 1 :][:number]
        share = -(-(len(self._tests) - self._from) // self._workers)
        return tests[: min(number, max(share, len(known)))]

    def _request(self, test: _Test) -> SandboxRequest | None:
        if test.settings not in self._requests:
            self._requests[test.settings] = self._guess(test.item)
        return self._requests[test.settings]


class Prestart:
    """Tells the engine which sandboxes the tests to come will ask for.

    Args:
        items: The tests that are going to run, in order.
        engine: The engine.
        settings: The settings of the run.
        request: Makes a request of settings and the name of an image.
        workers: How many processes share the tests.
    """

    def __init__(
        self,
        items: Iterable[pytest.Item],
        engine: SandboxEngine,
        settings: SandboxSettings,
        request: Callable[[SandboxSettings, str], SandboxRequest],
        *,
        workers: int,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._make_request = request
        wanting = (item for item in items if not will_be_skipped(item, settings))
        self._forecast = Forecast(wanting, workers, self._guess)
        #: One request for all tests that ask for the same: engines may tell them apart by identity.
        self._known: dict[Hashable, SandboxRequest] = {}

    def begin(self, item: pytest.Item, next_item: pytest.Item | None) -> None:
        """Say which test begins, and which one follows in this process."""
        self._forecast.begin(item, next_item)
        self.start_ahead()

    def learn(self, test: str, request: SandboxRequest) -> None:
        """Say by which request a test has got a sandbox."""
        item = self._forecast.find(test)
        # What a test has started by itself is nothing that others like it are known to start.
        hosts = {} if item is None else marked_hosts(item)
        self._forecast.learn(test, self._for_all(replace(request, hosts=hosts)))
        self.start_ahead()

    def start_ahead(self) -> None:
        """Have sandboxes ready for the next tests, as far as can be told what they will want."""
        number = self._engine.ahead
        self._engine.prepare(self._forecast.upcoming(number) if number else [])

    def _for_all(self, request: SandboxRequest) -> SandboxRequest:
        settings = request.settings
        values = tuple(getattr(settings, name) for name in settings.declared())
        key = (request.image, values, *sorted(request.hosts))
        return self._known.setdefault(key, request.for_anybody())

    def _guess(self, item: pytest.Item) -> SandboxRequest | None:
        """Return what a test will ask for, if nothing but settings decides that."""
        if is_overridden(item):
            return None
        try:
            settings = for_test(self._settings, item.iter_markers(MARKER))
            image = self._engine.choose_image(settings)
            request = self._make_request(settings, image)
            return self._for_all(replace(request, hosts=marked_hosts(item)))
        except SandboxError:  # the test itself says so
            return None


def _settings_of(item: pytest.Item) -> str:
    marks = [sorted(mark.kwargs.items(), key=repr) for mark in item.iter_markers(MARKER)]
    return repr([*marks, *marked_hosts(item)])


def marked_hosts(item: pytest.Item) -> dict[str, str]:
    """Return the names of the services of a test's markers, with their addresses in a sandbox."""
    names = names_of_marks(item, item.iter_markers(SERVICES_MARKER))
    return addresses_inside((name, 0) for name in names)


def is_overridden(item: pytest.Item, *names: str) -> bool:
    """Tell whether a conftest.py has fixtures of these names, which are ours, for a test.

    Args:
        item: The test.
        names: By default of those that change what the settings mean.
    """
    # pytest (9.2) has no public way to see that; without this one, nothing is started ahead of the
    # first such test.
    definitions = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", None)
    if definitions is None:
        return True
    return any(len(definitions.get(name, ())) > 1 for name in names or _OVERRIDABLE)
