"""Whose fault an error of a test is, by its kind."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from pytest_agent_sandbox.errors import CassetteMiss, SandboxDied
from pytest_agent_sandbox.plugin.report.outcome import fault_of


def _fails() -> None:
    pytest.fail("no")


def _does_not_raise() -> None:
    with pytest.raises(ValueError, match="x"):
        pass


def _does_not_warn() -> None:
    with pytest.warns(UserWarning, match="x"):
        pass


def _asserts() -> None:
    assert json.loads("1") == 2, "no"


def _errs() -> None:
    raise ValueError("no")


def _has_a_fault_of_its_own() -> None:
    class OddError(Exception):
        fault = "the moon"

    raise OddError


def _in_a_group() -> None:
    raise ExceptionGroup("several", [SandboxDied("gone"), ValueError("no")])


def _misses() -> None:
    raise CassetteMiss("no")


@pytest.mark.parametrize(
    ("function", "fault"),
    [
        (_fails, "assertion"),
        (_does_not_raise, "assertion"),
        (_does_not_warn, "assertion"),
        (_asserts, "assertion"),
        (_errs, "test"),
        (_has_a_fault_of_its_own, "test"),
        (_in_a_group, "sandbox"),
        (_misses, "script"),
    ],
)
def test_of_errors_of_a_test(function: Callable[[], None], fault: str) -> None:
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - whatever it is
        function()
    assert fault_of(raised.value) == fault


TESTS = {
    "scope": """
        @pytest.fixture
        def narrow(): pass
        @pytest.fixture(scope="module")
        def wide(narrow): pass
        def test_it(wide): pass
        """,
    "scope asked for late": """
        @pytest.fixture
        def narrow(): pass
        @pytest.fixture(scope="module")
        def wide(request): request.getfixturevalue("narrow")
        def test_it(wide): pass
        """,
    "two yields": """
        @pytest.fixture
        def twice():
            yield
            yield
        def test_it(twice): pass
        """,
    "a fixture that is called": """
        @pytest.fixture
        def fixture(): pass
        def test_it(): fixture()
        """,
    "unknown fixture": "def test_it(nowhere): pass",
    "a condition that cannot be read": """
        @pytest.mark.skipif("nowhere", reason="x")
        def test_it(): pass
        """,
    "async without a plugin": "async def test_it(): pass",
}


@pytest.mark.parametrize("name", TESTS)
def test_of_tests_that_pytest_refuses(name: str, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import pytest
        from pytest_agent_sandbox.plugin.report.outcome import fault_of

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_makereport(item, call):
            if call.excinfo is not None:
                print("FAULT", fault_of(call.excinfo.value), call.excinfo.exconly()[:60])
            return (yield)
        """
    )
    source = "\n".join(line.removeprefix(" " * 8) for line in TESTS[name].splitlines())
    pytester.makepyfile(f"import pytest\n{source}")
    others = ("asyncio", "anyio", "syrupy", "cacheprovider", "hypothesispytest")
    result = pytester.runpytest_inprocess("-s", *(f"-pno:{name}" for name in others))
    faults = [line.partition("FAULT ")[2].split()[0] for line in result.outlines if "FAULT" in line]
    assert set(faults) == {"test"}, result.outlines
