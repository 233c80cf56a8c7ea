"""Outcome of a test, phase by phase, and failures free of our own frames."""

from __future__ import annotations

import contextlib
import os
import sysconfig
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_agent_sandbox import errors
from pytest_agent_sandbox.errors import LOG_TITLE, SandboxError
from pytest_agent_sandbox.evidence import limits
from pytest_agent_sandbox.evidence.log_lines import readable
from pytest_agent_sandbox.plugin.report import misuse

if TYPE_CHECKING:
    from pytest_agent_sandbox.evidence.recorder import Recorder

_PHASES = pytest.StashKey[dict[str, "Phase"]]()
#: The evidence of the attempt that is under way.
RECORDER: pytest.StashKey[Recorder] = pytest.StashKey()

_PACKAGE = Path(errors.__file__).parent
#: Where a user's project may have other people's code in it, as that of a virtual environment.
_INSTALLED = {"site-packages", "dist-packages"}
_STANDARD_LIBRARY = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
#: The modules of pytest (9.2) that fail a test for how it or a fixture is written.
_ABOUT_TESTS = {
    ("_pytest", name)
    for name in ("compat.py", "fixtures.py", "nodes.py", "python.py", "scope.py", "skipping.py")
}
#: Lines of a container's log in an error.
_LOG_LINES = 8


@dataclass(frozen=True)
class Phase:
    """Phase (setup, call, teardown) of a test, and how it went.

    Attributes:
        outcome: `passed`, `failed` or `skipped`.
        duration: Seconds.
        error: The failure in words; empty where there was none.
        fault: Whose it was: `sandbox`, `agent`, `script`, `budget`, `assertion`, or `test` for any
            other error of the test; else empty.
        report: What pytest says of it, with the lines of code.
    """

    outcome: str
    duration: float
    error: str = ""
    fault: str = ""
    report: str = ""


def prepare_failure(
    item: pytest.Item, call: pytest.CallInfo[None], mask: Callable[[str], str]
) -> None:
    """End a failure's traceback at the user's own line, and mask what an error quotes.

    `--full-trace` shows all frames, as it does with pytest's own.
    """
    if call.excinfo is None:
        return
    error = call.excinfo.value
    _mask_error(error, mask)
    misuse.explain(error)
    if isinstance(error, SandboxError):
        notes = getattr(error, "__notes__", [])
        if error.log and notes and notes[0].startswith(LOG_TITLE):
            notes[0] = f"{LOG_TITLE}\n{readable(mask(error.log), _LOG_LINES)}"
    if item.config.getoption("fulltrace", False):
        return
    # Without any the rest is needed: pytest takes the summary's line from a frame that it shows.
    only_the_users = isinstance(error, SandboxError) and _has_user_frames(item, error)
    for entry in call.excinfo.traceback:
        if _PACKAGE in Path(entry.path).parents:
            # pytest (9.2) looks for this name in a frame's locals, then in its module.
            entry.frame.f_globals["__tracebackhide__"] = True
        elif only_the_users and not _is_of_the_user(item, entry.path):
            entry.frame.f_locals["__tracebackhide__"] = True  # here; other errors may need it
    if isinstance(error, SandboxError):
        _shorten_chain(item, error)


def _shorten_chain(item: pytest.Item, error: SandboxError) -> None:
    """Take out what an error of ours came from, as far as no code of the user's was in that.

    The message says what happened; the HTTP library's frames below it do not.
    """
    cause = _origin(error)
    while cause is not None and not _has_user_frames(item, cause):
        cause = _origin(cause)
    if cause is not _origin(error):
        error.__cause__, error.__context__ = None, cause
        error.__suppress_context__ = cause is None


def _origin(error: BaseException) -> BaseException | None:
    """Return the error that Python shows above an error."""
    if error.__cause__ is not None or error.__suppress_context__:
        return error.__cause__
    return error.__context__


def _mask_error(error: BaseException, mask: Callable[[str], str]) -> None:
    """Mask an error's own words, which every report of it begins with."""
    with contextlib.suppress(AttributeError, TypeError):  # a class that has its own idea of them
        masked = tuple(mask(part) if isinstance(part, str) else part for part in error.args)
        if masked != error.args:
            error.args = masked
        notes = getattr(error, "__notes__", [])
        notes[:] = [mask(note) if isinstance(note, str) else note for note in notes]


def masked_report(
    item: pytest.Item, report: pytest.TestReport, mask: Callable[[str], str]
) -> pytest.TestReport:
    """Return a report without secrets in its lines of code, values and captured output.

    Those are not the sandbox's, but they end up in the same places as the evidence.
    """
    texts = [report.longreprtext, *(text for _, text in report.sections)]
    if all(mask(text) == text for text in texts):
        return report
    hook = item.config.hook
    content = hook.pytest_report_to_serializable(config=item.config, report=report)
    if isinstance(report.longrepr, tuple):  # where and why it was skipped; it must stay a tuple
        content["longrepr"] = tuple(limits.change_texts(report.longrepr, mask))
    else:
        content["longrepr"] = limits.change_texts(content["longrepr"], mask)
    content["sections"] = [(title, mask(text)) for title, text in report.sections]
    masked: pytest.TestReport = hook.pytest_report_from_serializable(
        config=item.config, data=content
    )
    return masked


def note_phase(
    item: pytest.Item,
    call: pytest.CallInfo[None],
    report: pytest.TestReport,
    mask: Callable[[str], str],
) -> None:
    """Keep a phase's outcome with its test."""
    error, fault, text = "", "", ""
    if report.failed and call.excinfo is None:  # it passed, and must not: xfail(strict=True)
        error, fault, text = report.longreprtext, "assertion", report.longreprtext
    elif report.failed and call.excinfo is not None:
        fault = fault_of(call.excinfo.value)
        error = call.excinfo.exconly()
        is_ours = isinstance(call.excinfo.value, SandboxError)
        if is_ours and not _has_user_frames(item, call.excinfo.value):
            # What happened and its notes say everything; no frame adds to that.
            report.longrepr = call.excinfo.getrepr(style="no", tbfilter=False)
        text = report.longreprtext
        difference = getattr(call.excinfo.value, "difference", "")
        if difference:  # the terminal shows its beginning
            text += f"\n\nThe whole difference:\n{mask(difference)}"
    if report.when == "setup":  # the first phase; a rerun comes by here again with the same item
        item.stash[_PHASES] = {}
    so_far: dict[str, Phase] = item.stash.setdefault(_PHASES, {})
    found = Phase(report.outcome, report.duration, error, fault, text)
    before = so_far.get(report.when)
    if before is not None and before.outcome == "failed":
        # A failed subtest has its report before the test's own: that one must not undo it.
        text = "\n\n".join(part for part in (before.report, text) if part)
        found = replace(before, duration=report.duration, report=text)
    so_far[report.when] = found


def fault_of(error: BaseException) -> str:
    """Return whose fault an error of a test is: one of `Phase.fault`."""
    if isinstance(error, BaseExceptionGroup):  # of fixtures that end, or of tasks
        return fault_of(error.exceptions[0])
    if isinstance(error, SandboxError):
        return error.fault
    if isinstance(error, pytest.fail.Exception):
        return "test" if _is_of_pytest(error) else "assertion"
    return "assertion" if isinstance(error, AssertionError) else "test"


def _is_of_pytest(error: BaseException) -> bool:
    """Tell whether pytest itself, or its time-out, has failed a test in which nothing was asserted.

    A fixture of too narrow a scope is such a failure, or one that yields twice; the failures of
    `pytest.raises` and `pytest.warns` are assertions, and so are those of other plugins' helpers.
    """
    if "from pytest-timeout" in str(error):
        return True
    files = [Path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__)]
    callers = [file for file in files if file.parts[-2:] != ("_pytest", "outcomes.py")]
    return bool(callers) and callers[-1].parts[-2:] in _ABOUT_TESTS


def phases(item: pytest.Item) -> dict[str, Phase]:
    """Return how the test's phases went so far, by their names."""
    return item.stash.get(_PHASES, {})


def failed(item: pytest.Item) -> bool:
    """Tell whether a phase of the test has failed so far."""
    return any(phase.outcome == "failed" for phase in phases(item).values())


def passed(item: pytest.Item) -> bool:
    """Tell whether the test itself has run and passed, and nothing has failed so far."""
    so_far = phases(item)
    return "call" in so_far and all(phase.outcome == "passed" for phase in so_far.values())


def _has_user_frames(item: pytest.Item, error: BaseException) -> bool:
    frames = traceback.walk_tb(error.__traceback__)
    return any(_is_of_the_user(item, frame.f_code.co_filename) for frame, _ in frames)


def _is_of_the_user(item: pytest.Item, file: str | os.PathLike[str]) -> bool:
    """Tell whether a frame's file is of the user's project.

    All others only lead from a test to an error of ours, or from there on: pytest, its plugins, the
    event loops.
    """
    path = Path(file)
    homes = {item.config.rootpath, item.config.invocation_params.dir, item.path.parent}
    others = {_PACKAGE, *_STANDARD_LIBRARY}
    return (
        not homes.isdisjoint(path.parents)
        and others.isdisjoint(path.parents)
        and _INSTALLED.isdisjoint(path.parts)
    )
