"""Which tests will be skipped for want of an LLM, as far as can be seen before they run."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import pytest

from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host.ci import is_in_ci
from pytest_agent_sandbox.plugin.cassette_files import cassette_file
from pytest_agent_sandbox.plugin.options import MARKER, for_test
from pytest_agent_sandbox.settings.table import SandboxSettings

#: What a live LLM needs.
NEEDED = ("LLM_MODEL", "LLM_API_KEY")

_OWN = "pytest_agent_sandbox."
#: A test that gives its agent a script says so by this name: a method, or an argument.
_SCRIPT = "script"
#: How many functions of a test are looked at: itself, its fixtures, and what these call.
_MOST_FUNCTIONS = 300


def will_be_skipped(
    item: pytest.Item, settings: SandboxSettings, environment: Mapping[str, str] = os.environ
) -> bool:
    """Tell whether nobody is going to answer a test's conversations, so that it is skipped.

    Args:
        item: The test.
        settings: Those of the run.
        environment: Holds `LLM_MODEL` and the like.
    """
    if "agent_conversation" not in getattr(item, "fixturenames", ()):
        return False
    if all(environment.get(name) for name in NEEDED):
        return False
    try:
        own = for_test(settings, item.iter_markers(MARKER))
        if own.llm_record != "live" and (own.llm_record or is_in_ci(environment)):
            return False
        cassette = cassette_file(item.path, item.nodeid, own.llm_cassettes)
        has_cassette = own.llm_record != "live" and cassette.exists()
    except (SandboxError, OSError):  # the test itself says so
        return False
    return not has_cassette and not _may_be_scripted(item)


def _may_be_scripted(item: pytest.Item) -> bool:
    """Tell whether the code of a test, its fixtures or what they call mentions a script."""
    information = getattr(item, "_fixtureinfo", None)  # pytest (9.2) tells it in no other way
    known: Mapping[str, Any] = getattr(information, "name2fixturedefs", {})
    fixtures = [definition.func for definitions in known.values() for definition in definitions]
    waiting: list[Any] = [getattr(item, "obj", None), *fixtures]
    seen: set[CodeType] = set()
    while waiting and len(seen) < _MOST_FUNCTIONS:
        function = _function(waiting.pop())
        if function is None or function.__code__ in seen:
            continue
        seen.add(function.__code__)
        names = set(_names(function.__code__))
        if _SCRIPT in names:
            return True
        waiting += _called(function.__globals__, names)
    return bool(waiting)  # too much to tell


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
