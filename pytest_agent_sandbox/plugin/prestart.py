"""Which sandboxes the tests will ask for that are still to come."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest

from pytest_agent_sandbox.engines.docker.plan import SandboxPlan
from pytest_agent_sandbox.plugin.options import MARKER

#: Fixtures by which a conftest.py may change what the settings say.
_OVERRIDABLE = ("sandbox_settings", "sandbox_image")


def wants_workspace(item: pytest.Item) -> bool:
    """Whether a test asks for a workspace of its own, as far as can be seen beforehand."""
    names = getattr(item, "fixturenames", ())
    if "agent_workspace" in names:
        return True
    return "agent_conversation" in names and "shared_agent_workspace" not in names


@dataclass(frozen=True)
class _Test:
    node_id: str
    #: Tests with the same markers get the same sandboxes, but where fixtures say otherwise.
    settings: str
    item: pytest.Item


class Forecast:
    """Knows the tests of the run that want workspaces, and by which plan earlier ones had theirs.

    Args:
        items: All tests, in order.
        workers: How many processes share them; which one gets which test only xdist knows.
        guess: The plan for a test, where no test like it has had a sandbox so far; None where that
            cannot be told.
    """

    def __init__(
        self,
        items: Iterable[pytest.Item],
        workers: int,
        guess: Callable[[pytest.Item], SandboxPlan | None],
    ) -> None:
        self._tests = [
            _Test(item.nodeid, _settings_of(item), item) for item in items if wants_workspace(item)
        ]
        self._places = {test.node_id: place for place, test in enumerate(self._tests)}
        self._workers = workers
        self._guess = guess
        self._plans: dict[str, SandboxPlan | None] = {}
        #: The test that is under way, and the next one.
        self._coming: list[pytest.Item] = []
        self._is_last = False
        self._from = 0

    def begin(self, item: pytest.Item, next_item: pytest.Item | None) -> None:
        """Say which test begins, and which one follows in this process."""
        self._coming = [item] if next_item is None else [item, next_item]
        self._is_last = next_item is None
        place = self._places.get(item.nodeid)
        if place is not None:
            self._from = place

    def learn(self, node_id: str, plan: SandboxPlan) -> None:
        """Say by which plan a test has got a sandbox; its first one counts."""
        place = self._places.get(node_id)
        if place is None or place < self._from:
            return  # of no test that was counted, or of one that has had its first
        self._plans[self._tests[place].settings] = plan
        self._from = place + 1

    def upcoming(self, number: int) -> list[SandboxPlan]:
        """The plans of the next tests of this process that want a workspace, at most so many."""
        tests = self._tests[self._from : self._from + number]
        if self._workers > 1:
            tests = self._of_this_worker(number)
        plans = (self._plan(test) for test in tests)
        return [plan for plan in plans if plan is not None]

    def _of_this_worker(self, number: int) -> list[_Test]:
        """Xdist hands out tests in about their order, and always tells the next one."""
        known = [self._places[one.nodeid] for one in self._coming if one.nodeid in self._places]
        # A test that has its sandbox needs no other.
        tests = [self._tests[place] for place in known if place >= self._from]
        if not self._is_last:
            tests += self._tests[max([*known, self._from - 1]) + 1 :][:number]
        share = -(-(len(self._tests) - self._from) // self._workers)
        return tests[: min(number, max(share, len(known)))]

    def _plan(self, test: _Test) -> SandboxPlan | None:
        if test.settings not in self._plans:
            self._plans[test.settings] = self._guess(test.item)
        return self._plans[test.settings]


def _settings_of(item: pytest.Item) -> str:
    return repr([sorted(mark.kwargs.items(), key=repr) for mark in item.iter_markers(MARKER)])


def is_overridden(item: pytest.Item) -> bool:
    """Whether a conftest.py changes what the settings mean for a test."""
    # pytest (9.2) has no public way to see that; without this one, nothing is started ahead of the
    # first such test.
    definitions = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", None)
    if definitions is None:
        return True
    return any(len(definitions.get(name, ())) > 1 for name in _OVERRIDABLE)
