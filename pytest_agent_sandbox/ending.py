"""What becomes of a test's evidence once its outcome is known."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from pytest_agent_sandbox import attachments, reporting, sandbox_evidence
from pytest_agent_sandbox.evidence import run_results
from pytest_agent_sandbox.evidence.recorder import Recorder
from pytest_agent_sandbox.evidence.telling import PAGE
from pytest_agent_sandbox.session import SandboxSession

#: Names of properties of a test in JUnit XML and the like.
EVIDENCE, FAULT = "agent_evidence", "agent_fault"


def show_setup(run: SandboxSession, item: pytest.Item, report: pytest.TestReport) -> None:
    """Shows what there is of a test whose set-up has failed.

    The terminal (pytest 9.2) leaves out the sections of the teardown report then.
    """
    recorder = item.stash.get(reporting.RECORDER, None)
    if recorder is None or not report.failed:
        return
    try:
        sections = recorder.sections_so_far(reporting.phases(item))
    except Exception:  # noqa: BLE001 - the end of the evidence meets it too, and says so
        return
    if run.settings.artifacts != "none":
        for title, text in sections:
            report.sections.append((f"Captured stdout {title} setup", text))


def note_call(item: pytest.Item, report: pytest.TestReport) -> None:
    """Keeps what the shared workspace tells of a test that has failed without an agent in it.

    Now, for the run's last test takes it down before its own evidence ends.
    """
    recorder = item.stash.get(reporting.RECORDER, None)
    used = getattr(item, "funcargs", {})
    if recorder is None or not report.failed or "agent_conversation" in used:
        return
    if "shared_agent_workspace" in used:
        with suppress(OSError):
            sandbox_evidence.of_shared(recorder, used["shared_agent_workspace"])


def end_evidence(run: SandboxSession, item: pytest.Item, report: pytest.TestReport) -> None:
    """Shows a failed test's evidence, and keeps or drops the folder as the settings say.

    The teardown report carries the sections: sections of the call report are missing from JUnit
    XML and Allure, and xdist sends each report before the next phase begins (pytest 9.2).
    """
    recorder = item.stash.get(reporting.RECORDER, None)
    if recorder is None:
        return
    del item.stash[reporting.RECORDER]
    is_kept = run.wants_evidence(item) and run.settings.artifacts != "none"
    try:
        sections = _end(recorder, item, is_wanted=run.wants_evidence(item), is_kept=is_kept)
        if is_kept:
            _attach(item, report, recorder)
    except Exception as error:  # noqa: BLE001 - evidence is never worth the results of a run
        # A full disk, a folder that somebody removed; or an event that nobody has thought of.
        what = error if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        sections = [("agent evidence", f"could not be kept: {what}\n")]
    if reporting.failed(item):
        for title, text in sections:
            report.sections.append((f"Captured stdout {title} teardown", text))
    if run.settings.artifacts != "none" and run.has_own_output:
        with suppress(OSError):
            run_results.add(run.output, recorder.result, recorder.folder if is_kept else None)


def _end(
    recorder: Recorder, item: pytest.Item, *, is_wanted: bool, is_kept: bool
) -> list[tuple[str, str]]:
    phases = reporting.phases(item)
    if not is_wanted:
        recorder.judge_only(phases)
        recorder.discard()
        return []
    try:
        return recorder.finish(phases, keep=is_kept)
    finally:
        if not is_kept:
            recorder.discard()


def _attach(item: pytest.Item, report: pytest.TestReport, recorder: Recorder) -> None:
    """Leads to the evidence from everywhere that people look."""
    page = recorder.folder / PAGE
    report.user_properties.append((EVIDENCE, _shown(page, item.config.rootpath)))
    if recorder.result.fault:
        report.user_properties.append((FAULT, recorder.result.fault))
    attachments.to_pytest_html(item.config, report, page)
    attachments.to_allure(item.config, recorder.folder)


def _shown(path: Path, root: Path) -> str:
    """The path as seen from the root folder, spelled the same on all systems."""
    with suppress(ValueError):  # on Windows: on another drive
        return Path(os.path.relpath(path, root)).as_posix()
    return path.as_posix()
