"""Which cassettes no test uses any more, and which cannot be read."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_agent_sandbox.errors import CassetteError, SandboxError, SettingsError
from pytest_agent_sandbox.llm.cassettes.cassette import Cassette
from pytest_agent_sandbox.plugin import options
from pytest_agent_sandbox.plugin.cassette_files import cassette_file

_UNUSED = "no test uses it: delete it, or rename it with its test"


def check_cassettes(arguments: Sequence[str]) -> tuple[int, dict[str, str]]:
    """Look at all cassettes beside the tests that pytest finds.

    Args:
        arguments: What pytest is given to find them.

    Returns:
        How many cassettes there are, and what is wrong with some of them, by their place.

    Raises:
        SandboxError: pytest cannot collect the tests.
        SettingsError: A test's settings cannot be used.
    """
    used = _cassettes_of_tests(arguments)
    # A module whose tests are all gone has its cassettes beside those of its neighbours.
    folders = sorted({file.parent.parent for file in used})
    found = [file for folder in folders for file in sorted(folder.glob("*/*.json"))]
    if arguments:  # then the other modules were perhaps not asked for
        modules = {file.parent for file in used}
        found = [file for file in found if file.parent in modules]
    problems = {os.path.relpath(file): _problem_of(file, used) for file in found}
    return len(found), {file: problem for file, problem in problems.items() if problem}


class _Collector:
    """A plugin that notes where each test's cassette would be."""

    def __init__(self) -> None:
        self.cassettes: set[Path] = set()
        #: What to say of markers that cannot be read, by file and mistake: each has its first test.
        self.unreadable: dict[str, str] = {}
        #: What is wrong with the settings of the run.
        self.problem: SandboxError | None = None

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Note each test, also those that -k or -m deselect."""
        try:
            settings = options.resolve(item.config)
        except SandboxError as error:
            self.problem = error
            return
        try:
            settings = options.for_test(settings, item.iter_markers(options.MARKER))
        except SandboxError as error:
            file, (_, line, name) = os.path.relpath(item.path), item.location
            told = f"{file}:{(line or 0) + 1}: {name}: {error}"
            self.unreadable.setdefault(f"{file}: {error}", told)
            return
        self.cassettes.add(cassette_file(item.path, item.nodeid, settings.llm_cassettes))


def _cassettes_of_tests(arguments: Sequence[str]) -> frozenset[Path]:
    collector = _Collector()
    output = io.StringIO()
    with (
        warnings.catch_warnings(),  # of other plugins, about themselves
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
    ):
        warnings.simplefilter("ignore")
        code = pytest.main(
            ["--collect-only", "-q", "-p", "no:cacheprovider", *arguments], [collector]
        )
    if collector.problem is not None:
        raise collector.problem
    if collector.unreadable:
        listed = "\n".join(collector.unreadable.values())
        raise SettingsError(f"Markers that cannot be read:\n{listed}")
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise SandboxError(f"pytest cannot collect the tests:\n{output.getvalue().strip()[-3000:]}")
    return frozenset(collector.cassettes)


def _problem_of(file: Path, used: frozenset[Path]) -> str:
    if file not in used:
        return _UNUSED
    try:
        Cassette.load(file)
    except CassetteError as error:
        return str(error)
    return ""
