"""A test's outcome, phase by phase, and what becomes of its evidence once the outcome is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import _pytest
import pluggy
import pytest

from pytest_agent_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from pytest_agent_sandbox.evidence.recorder import Recorder

_PHASES = pytest.StashKey[dict[str, "Phase"]]()
#: The evidence of the attempt that is under way.
RECORDER: pytest.StashKey[Recorder] = pytest.StashKey()

_PACKAGE = Path(__file__).parent
_LIBRARIES = {"docker", "httpcore", "httpx", "requests", "urllib3", "websockets"}


@dataclass(frozen=True)
class Phase:
    """How one phase (setup, call, teardown) of a test went.

    Attributes:
        outcome: `passed`, `failed` or `skipped`.
        duration: Seconds.
        error: The failure in words; empty where there was none.
        fault: Whose it was: `sandbox`, `agent`, or `test` for any other failure; else empty.
    """

    outcome: str
    duration: float
    error: str = ""
    fault: str = ""


def prepare_failure(
    item: pytest.Item, call: pytest.CallInfo[None], mask: Callable[[str], str]
) -> None:
    """Ends a failure's traceback at the user's own line, and masks what an error of ours quotes.

    `--full-trace` shows all frames, as it does with pytest's own.
    """
    if call.excinfo is None:
        return
    error = call.excinfo.value
    if isinstance(error, SandboxError):
        error.args = tuple(mask(part) if isinstance(part, str) else part for part in error.args)
        error.__notes__ = [mask(note) for note in getattr(error, "__notes__", ())]
    if item.config.getoption("fulltrace", False):
        return
    for entry in call.excinfo.traceback:
        if _PACKAGE in Path(entry.path).parents:
            # pytest (9.2) looks for this name in a frame's locals, then in its module.
            entry.frame.f_globals["__tracebackhide__"] = True
    if isinstance(error, SandboxError) and _is_of_a_library(error.__cause__ or error.__context__):
        # The message says what happened; the HTTP library's frames below it do not.
        error.__cause__ = None
        error.__suppress_context__ = True


def note_phase(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Keeps a phase's outcome with its test; ends the evidence with the last phase."""
    error, fault = "", ""
    if report.failed and call.excinfo is not None:
        fault = getattr(call.excinfo.value, "fault", "test")
        error = call.excinfo.exconly()
        if isinstance(call.excinfo.value, SandboxError) and not _has_user_frames(call.excinfo):
            # What happened and its notes say everything; no frame adds to that.
            report.longrepr = call.excinfo.getrepr(style="no", tbfilter=False)
    if report.when == "setup":  # the first phase; a rerun comes by here again with the same item
        item.stash[_PHASES] = {}
    phases: dict[str, Phase] = item.stash.setdefault(_PHASES, {})
    # A failed subtest has its report before the test's own: that one must not undo it.
    if report.when not in phases or phases[report.when].outcome != "failed":
        phases[report.when] = Phase(report.outcome, report.duration, error, fault)
    if report.when == "teardown":
        _end_evidence(item, report)


def failed(item: pytest.Item) -> bool:
    """Whether a phase of the test has failed so far."""
    return any(phase.outcome == "failed" for phase in item.stash.get(_PHASES, {}).values())


def passed(item: pytest.Item) -> bool:
    """Whether the test itself has run and passed, and nothing has failed so far."""
    phases = item.stash.get(_PHASES, {})
    return "call" in phases and all(phase.outcome == "passed" for phase in phases.values())


def _has_user_frames(excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
    others = {_PACKAGE, Path(_pytest.__file__).parent, Path(pluggy.__file__).parent}
    return any(not others & set(Path(entry.path).parents) for entry in excinfo.traceback)


def _is_of_a_library(error: BaseException | None) -> bool:
    return error is not None and type(error).__module__.partition(".")[0] in _LIBRARIES


def _end_evidence(item: pytest.Item, report: pytest.TestReport) -> None:
    """Shows and keeps a failed test's evidence; drops a passed one's.

    The teardown report carries the sections: sections of the call report are missing from JUnit
    XML and Allure, and xdist sends each report before the next phase begins (pytest 9.2).
    """
    recorder = item.stash.get(RECORDER, None)
    if recorder is None:
        return
    del item.stash[RECORDER]
    if not failed(item):
        recorder.discard()
        return
    phases = item.stash[_PHASES]
    try:
        sections = recorder.finish(phases)
    except OSError as error:  # a full disk, a folder that somebody removed
        sections = [("agent evidence", f"could not be kept: {error}\n")]
    for title, text in sections:
        report.sections.append((f"Captured stdout {title} teardown", text))
