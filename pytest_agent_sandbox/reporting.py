"""A test's outcome, phase by phase, and what becomes of its evidence once the outcome is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_agent_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from pytest_agent_sandbox.evidence.recorder import Recorder

_PHASES = pytest.StashKey[dict[str, "Phase"]]()
#: The evidence of the attempt that is under way.
RECORDER: pytest.StashKey[Recorder] = pytest.StashKey()


@dataclass(frozen=True)
class Phase:
    """How one phase (setup, call, teardown) of a test went.

    Attributes:
        outcome: `passed`, `failed` or `skipped`.
        duration: Seconds.
        error: The failure in words; empty where there was none.
        fault: `sandbox` for a `SandboxError`, `test` for any other failure, else empty.
    """

    outcome: str
    duration: float
    error: str = ""
    fault: str = ""


def hide_own_frames(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Ends a failure's traceback at the test's own line, not in this package.

    `--full-trace` shows everything, as it does for pytest's own frames.
    """
    if call.excinfo is None or item.config.getoption("fulltrace"):
        return
    package = Path(__file__).parent
    for entry in call.excinfo.traceback:
        if package in Path(entry.path).parents:
            # pytest (9.2) looks for this name in a frame's locals, then in its module.
            entry.frame.f_globals["__tracebackhide__"] = True
    if isinstance(call.excinfo.value, SandboxError):
        # The message says what happened; the HTTP library's frames below it do not.
        call.excinfo.value.__cause__ = None
        call.excinfo.value.__suppress_context__ = True


def note_phase(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Keeps a phase's outcome with its test; ends the evidence with the last phase."""
    error, fault = "", ""
    if report.failed and call.excinfo is not None:
        fault = "sandbox" if isinstance(call.excinfo.value, SandboxError) else "test"
        error = call.excinfo.exconly()
        if fault == "sandbox" and report.when != "call":
            # A fixture's frames are all ours: what happened and its notes say everything.
            report.longrepr = call.excinfo.getrepr(style="no", tbfilter=False)
    if report.when == "setup":  # the first phase; a rerun comes by here again with the same item
        item.stash[_PHASES] = {}
    item.stash[_PHASES][report.when] = Phase(report.outcome, report.duration, error, fault)
    if report.when == "teardown":
        _end_evidence(item, report)


def failed(item: pytest.Item) -> bool:
    """Whether a phase of the test has failed so far."""
    return any(phase.outcome == "failed" for phase in item.stash.get(_PHASES, {}).values())


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
    for title, text in recorder.finish(item.nodeid, phases):
        report.sections.append((f"Captured stdout {title} teardown", text))
