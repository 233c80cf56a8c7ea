"""The markers of what tests need, on which `scripts/test --fast` relies."""

from __future__ import annotations

import pytest

SUITE = """
import pytest
from pytest_agent_sandbox.containers.engine import ContainerEngine

def test_asks_for_the_engine(engine): ...
def test_asks_for_what_needs_the_engine(agent_server_image): ...
def test_asks_for_the_browser(browser): ...
def test_asks_for_nothing(): ...
def test_reaches_for_the_engine_unasked(): ContainerEngine.connect()
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, pytestconfig: pytest.Config) -> pytest.Pytester:
    pytester.makeconftest((pytestconfig.rootpath / "conftest.py").read_text("utf-8"))
    markers = "".join(f"    {line}\n" for line in pytestconfig.getini("markers"))
    pytester.makeini(f"[pytest]\nmarkers =\n{markers}")
    pytester.makepyfile(test_it=SUITE)
    return pytester


def outcomes(suite: pytest.Pytester, *options: str) -> dict[str, str]:
    run = suite.inline_run("-p", "no:asyncio", "-p", "no:cacheprovider", *options)
    return {
        report.nodeid.partition("::")[2]: report.outcome
        for report in run.getreports("pytest_runtest_logreport")
        if report.when == "call"
    }


def test_fixtures_set_them(suite: pytest.Pytester) -> None:
    left = outcomes(suite, "-m", "not engine and not browser")
    assert left.keys() == {"test_asks_for_nothing", "test_reaches_for_the_engine_unasked"}


def test_who_reaches_for_an_engine_unasked_fails(suite: pytest.Pytester) -> None:
    assert outcomes(suite, "-k", "nothing or unasked") == {
        "test_asks_for_nothing": "passed",
        "test_reaches_for_the_engine_unasked": "failed",
    }
