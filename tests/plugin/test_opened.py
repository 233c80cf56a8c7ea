"""What a test has opened is closed with it, also what comes too late."""

from __future__ import annotations

import pytest

from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.plugin.opened import OpenResources


class Thing:
    """Something that can be closed."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.is_closed = False
        self._problem = problem

    def close(self) -> None:
        self.is_closed = True
        if self._problem is not None:
            raise self._problem


def test_what_is_kept_is_given_back_in_order() -> None:
    things = OpenResources[Thing]("thing")
    first, second = Thing(), Thing()
    things.add(first)
    things.add(second)
    assert list(things) == things.end() == [first, second]
    assert not first.is_closed


@pytest.mark.parametrize("problem", [None, SandboxError("it is gone")])
def test_what_comes_too_late_is_closed_at_once(problem: Exception | None) -> None:
    things = OpenResources[Thing]("sandbox")
    things.end()
    late = Thing(problem)
    with pytest.raises(SandboxError, match=r"The test that asked for this sandbox is over\."):
        things.add(late)
    assert late.is_closed
    assert not list(things)
