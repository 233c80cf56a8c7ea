"""Which tests are going to be skipped, as far as their code tells."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_agent_sandbox.plugin.cassette_files import cassette_file
from pytest_agent_sandbox.plugin.skip_forecast import will_be_skipped
from pytest_agent_sandbox.settings.table import SandboxSettings

KEYS = {"LLM_MODEL": "openai/gpt-4o", "LLM_API_KEY": "sk-of-nobody"}


def plain(agent_conversation: Any) -> None:
    agent_conversation().run()


def scripted(agent_conversation: Any, agent_llm: Any) -> None:
    agent_llm.script([])
    agent_conversation().run()


def with_its_own(agent_conversation: Any) -> None:
    agent_conversation(script=[]).run()


def by_name(agent_conversation: Any) -> None:
    agent_conversation(**{"script": []}).run()


def in_a_function_of_its_own(agent_llm: Any) -> None:
    def begin() -> None:
        agent_llm.script([])

    begin()


def by_a_helper(agent_conversation: Any, agent_llm: Any) -> None:
    scripted(agent_conversation, agent_llm)


class Helper:
    @staticmethod
    def begin(llm: Any) -> None:
        llm.script([])


def by_a_class(agent_llm: Any) -> None:
    Helper.begin(agent_llm)


MODULE = pytest  # not the project's code


def of_a_module(agent_conversation: Any) -> None:
    MODULE.importorskip("json")
    agent_conversation().run()


class Proxy:
    """As werkzeug's: asking it anything outside of a request is an error."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


proxy = Proxy()


def with_a_proxy(agent_conversation: Any) -> None:
    agent_conversation(proxy).run()


@wraps(scripted)
def wrapped(*given: Any) -> None:
    plain(*given)


def item(tmp_path: Path, function: Any, **fixtures: Any) -> Any:
    definitions = {name: [SimpleNamespace(func=one)] for name, one in fixtures.items()}
    return SimpleNamespace(
        nodeid="test_it.py::test_it",
        path=tmp_path / "test_it.py",
        fixturenames=["agent_conversation", *fixtures],
        obj=function,
        iter_markers=lambda _: [],
        _fixtureinfo=SimpleNamespace(name2fixturedefs=definitions),
    )


@pytest.mark.parametrize("function", [plain, of_a_module, with_a_proxy])
def test_nobody_mentions_a_script(tmp_path: Path, function: Any) -> None:
    assert will_be_skipped(item(tmp_path, function), SandboxSettings(), {})
    assert not will_be_skipped(item(tmp_path, function, begin=scripted), SandboxSettings(), {})


@pytest.mark.parametrize(
    "function",
    [
        *(scripted, with_its_own, by_name, in_a_function_of_its_own, by_a_helper),
        *(by_a_class, wrapped, Helper().begin),
    ],
)
def test_somebody_mentions_one(tmp_path: Path, function: Any) -> None:
    assert not will_be_skipped(item(tmp_path, function), SandboxSettings(), {})


@pytest.mark.parametrize(
    ("settings", "environment", "expected"),
    [
        ({}, {"LLM_MODEL": "openai/gpt-4o"}, True),
        ({}, KEYS, False),
        ({}, {"CI": "true"}, False),
        ({"llm_record": "none"}, {}, False),
        ({"llm_record": "live"}, {}, True),
        ({"llm_record": "live"}, {"CI": "true"}, True),
    ],
)
def test_settings_and_keys(
    tmp_path: Path, settings: Any, environment: dict[str, str], expected: bool
) -> None:
    test = item(tmp_path, plain)
    assert will_be_skipped(test, SandboxSettings(**settings), environment) is expected


def test_a_cassette_is_replayed(tmp_path: Path) -> None:
    test = item(tmp_path, plain)
    cassette = cassette_file(test.path, test.nodeid, SandboxSettings().llm_cassettes)
    cassette.parent.mkdir(parents=True)
    cassette.touch()
    assert not will_be_skipped(test, SandboxSettings(), {})
    assert will_be_skipped(test, SandboxSettings(llm_record="live"), {})


def test_one_that_starts_no_conversation(tmp_path: Path) -> None:
    test = item(tmp_path, plain)
    test.fixturenames = ["agent_workspace"]
    assert not will_be_skipped(test, SandboxSettings(), {})
