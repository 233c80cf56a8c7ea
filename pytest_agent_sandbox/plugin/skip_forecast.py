"""Which tests will be skipped for want of an LLM, as far as can be seen before they run."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import pytest

from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host.ci import is_in_ci
from pytest_agent_sandbox.plugin.cassette_files import cassette_file
from pytest_agent_sandbox.plugin.certain_need import needs_answers
from pytest_agent_sandbox.plugin.options import MARKER, for_test
from pytest_agent_sandbox.plugin.report.skips import nobody_answers
from pytest_agent_sandbox.settings.table import SandboxSettings

#: What a live LLM needs.
NEEDED = ("LLM_MODEL", "LLM_API_KEY")

_OWN = "pytest_agent_sandbox."
#: A test that gives its agent a script says so by this name: a method, or an argument.
_SCRIPT = "script"
#: How code may set what a live LLM needs.
_SETS_THE_ENVIRONMENT = {*NEEDED, "environ", "setenv", "putenv", "load_dotenv"}
#: How many functions of a test are looked at: itself, its fixtures, and what these call.
_MOST_FUNCTIONS = 300


def missing(environment: Mapping[str, str]) -> str:
    """Return which variables of a live LLM are not set, in words; empty if all are."""
    names = [name for name in NEEDED if not environment.get(name)]
    if not names:
        return ""
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} not set"


def will_be_skipped(
    item: pytest.Item, settings: SandboxSettings, environment: Mapping[str, str] = os.environ
) -> bool:
    """Tell whether nobody is going to answer a test's LLM calls, so that it is skipped.

    Nothing but a start ahead of the test depends on it: a test that begins a conversation is
    expected to use it.

    Args:
        item: The test.
        settings: Those of the run.
        environment: Holds `LLM_MODEL` and the like.
    """
    fixtures = getattr(item, "fixturenames", ())
    if "agent_llm" not in fixtures and "agent_conversation" not in fixtures:
        return False
    return (
        _is_unanswered(item, settings, environment)
        and not _mentions(item, {_SCRIPT})
        and ("agent_conversation" in fixtures or needs_answers(item))
    )


def why_skipped(
    item: pytest.Item, settings: SandboxSettings, environment: Mapping[str, str] = os.environ
) -> str:
    """Return why a test cannot but be skipped; empty where there is any doubt.

    Args:
        item: The test.
        settings: Those of the run.
        environment: Holds `LLM_MODEL` and the like.
    """
    is_certain = (
        _is_unanswered(item, settings, environment)
        and needs_answers(item)
        and not _mentions(item, {_SCRIPT, *_SETS_THE_ENVIRONMENT})
        and not _is_prepared(item)
    )
    return nobody_answers(missing(environment)) if is_certain else ""


def _is_unanswered(
    item: pytest.Item, settings: SandboxSettings, environment: Mapping[str, str]
) -> bool:
    """Tell whether a test has neither cassette nor live LLM."""
    if not missing(environment):
        return False
    try:
        own = for_test(settings, item.iter_markers(MARKER))
        if own.llm_record != "live" and (own.llm_record or is_in_ci(environment)):
            return False
        cassette = cassette_file(item.path, item.nodeid, own.llm_cassettes)
        return own.llm_record == "live" or not cassette.exists()
    except (SandboxError, OSError):  # the test itself says so
        return False


def _fixtures(item: pytest.Item) -> list[Any]:
    """Return the functions of a test's fixtures."""
    information = getattr(item, "_fixtureinfo", None)  # pytest (9.2) tells it in no other way
    known: Mapping[str, Any] = getattr(information, "name2fixturedefs", {})
    return [definition.func for definitions in known.values() for definition in definitions]


def _mentions(item: pytest.Item, words: set[str]) -> bool:
    """Tell whether a test, its fixtures, the hooks beside it or what they call mention a word."""
    waiting: list[Any] = [getattr(item, "obj", None), *_fixtures(item), *_hooks(item)]
    seen: set[CodeType] = set()
    while waiting and len(seen) < _MOST_FUNCTIONS:
        function = _function(waiting.pop())
        if function is None or function.__code__ in seen:
            continue
        seen.add(function.__code__)
        names = set(_names(function.__code__))
        if not words.isdisjoint(names):
            return True
        waiting += _called(function.__globals__, names)
    return bool(waiting)  # too much to tell


def _hooks(item: pytest.Item) -> Iterator[Any]:
    """Yield the hooks of the project's conftest.py files, which may do anything to its tests."""
    config = getattr(item, "config", None)
    for plugin in config.pluginmanager.get_plugins() if config is not None else ():
        if Path(getattr(plugin, "__file__", None) or "").name == "conftest.py":
            yield from (one for name, one in vars(plugin).items() if name.startswith("pytest_"))


def _is_prepared(item: pytest.Item) -> bool:
    """Tell whether a fixture gets hold of a test's `agent_llm`, and may do anything with it."""
    return any(
        "agent_llm" in {*code.co_varnames, *_names(code)}
        for fixture in _fixtures(item)
        if not (getattr(fixture, "__module__", None) or "").startswith(_OWN)
        and (code := getattr(fixture, "__code__", None)) is not None
    )


def _function(given: Any) -> FunctionType | None:
    """Return the function behind what is called; None for code that is not the project's."""
    # By the type itself: some objects answer to `isinstance` with what they stand for, or raise.
    if type(given) in (staticmethod, classmethod, MethodType):
        given = given.__func__
    if type(given) is not FunctionType:
        return None
    function = inspect.unwrap(given)
    if type(function) is not FunctionType or (function.__module__ or "").startswith(_OWN):
        return None
    return None if "site-packages" in function.__code__.co_filename else function


def _called(known: Mapping[str, Any], names: set[str]) -> Iterator[Any]:
    """Yield the functions, by themselves or of modules and classes, that names may mean."""
    for name in names & known.keys():
        value = known[name]
        if issubclass(type(value), type):
            yield from vars(value).values()
        elif type(value) is ModuleType:
            yield from (vars(value)[inner] for inner in names & vars(value).keys())
        else:
            yield value


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names in a function's code: attributes, arguments, and texts that may be some."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
        else:
            parts = constant if isinstance(constant, tuple) else (constant,)
            yield from (part for part in parts if isinstance(part, str))
