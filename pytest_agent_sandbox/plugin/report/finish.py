"""End of a test's evidence: judge what was recorded, tell it, write it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_agent_sandbox.evidence import results_table, sections
from pytest_agent_sandbox.evidence.folders import PAGE
from pytest_agent_sandbox.evidence.story_builder import build_story
from pytest_agent_sandbox.plugin.report import attachments, outcome
from pytest_agent_sandbox.plugin.report.complete import complete, judge

if TYPE_CHECKING:
    from pytest_agent_sandbox.evidence.recorder import Recorder
    from pytest_agent_sandbox.plugin.session import SandboxSession

#: Names of properties of a test in JUnit XML and the like.
EVIDENCE, FAULT = "agent_evidence", "agent_fault"


def show_setup(run: SandboxSession, item: pytest.Item, report: pytest.TestReport) -> None:
    """Show what there is of a test whose set-up has failed.

    The terminal (pytest 9.2) leaves out the sections of the teardown report then.
    """
    recorder = item.stash.get(outcome.RECORDER, None)
    if recorder is None or not report.failed:
        return
    try:
        _save_verdict(recorder, item)
        story = build_story(recorder.folder, recorder.masked_result())
        told = sections.of(story, recorder.folder)
    except Exception:  # noqa: BLE001 - the end of the evidence meets it too, and says so
        return
    if run.settings.artifacts != "none":
        _show(report, told)


def note_call(item: pytest.Item, report: pytest.TestReport) -> None:
    """Keep that a test has failed; its own end may never come."""
    recorder = item.stash.get(outcome.RECORDER, None)
    if recorder is None or not report.failed:
        return
    with suppress(OSError):
        _save_verdict(recorder, item)


def _save_verdict(recorder: Recorder, item: pytest.Item) -> None:
    # pytest may not live to the test's end: the reader of its output leaves, a debugger or Ctrl-C
    # ends it.
    judge(recorder, outcome.phases(item))
    recorder.save()


def end_evidence(run: SandboxSession, item: pytest.Item, report: pytest.TestReport) -> None:
    """Show a failed test's evidence, and keep or drop the folder as the settings say.

    The teardown report carries the sections: sections of the call report are missing from JUnit
    XML and Allure, and xdist sends each report before the next phase begins (pytest 9.2).
    """
    recorder = item.stash.get(outcome.RECORDER, None)
    if recorder is None:
        run.uses.end(is_wanted=False)
        return
    evidence, is_off = run.evidence, run.settings.artifacts == "none"
    is_wanted = evidence.wants_evidence(item)
    del item.stash[outcome.RECORDER]
    is_kept = is_wanted and not is_off
    try:
        run.uses.end(is_wanted=is_wanted)
        told = _end(recorder, item, is_wanted=is_wanted, is_kept=is_kept)
    except Exception as error:  # noqa: BLE001 - evidence is never worth the results of a run
        # A full disk, a folder that somebody removed; or an event that nobody has thought of.
        told = [("agent evidence", f"could not be kept: {_in_words(error)}\n")]
        is_kept = is_kept and recorder.folder.exists()
    else:
        if is_kept:
            told += _attach(item, report, recorder)
    if outcome.failed(item):
        _show(report, told)
    with suppress(OSError):
        if not is_off and evidence.has_own_output:
            results_table.add(
                evidence.output, recorder.result, recorder.folder if is_kept else None
            )


def _show(report: pytest.TestReport, told: list[tuple[str, str]]) -> None:
    # Where a single character of a section is not to be had on the terminal, pytest (9.2) shows all
    # of it as one line of escapes. A worker of xdist has no terminal.
    encoding = getattr(sys.__stdout__, "encoding", None) or "utf-8"
    for title, text in told:
        shown = text.encode(encoding, "backslashreplace").decode(encoding)
        report.sections.append((f"Captured stdout {title} {report.when}", shown))


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


def _end(
    recorder: Recorder, item: pytest.Item, *, is_wanted: bool, is_kept: bool
) -> list[tuple[str, str]]:
    phases = outcome.phases(item)
    try:
        if is_wanted:
            return complete(recorder, phases, keep=is_kept)
        judge(recorder, phases)  # for the run's table
        return []
    finally:
        if not is_kept:
            recorder.discard()


def _attach(
    item: pytest.Item, report: pytest.TestReport, recorder: Recorder
) -> list[tuple[str, str]]:
    """Lead to the evidence from everywhere that people look; return what to say of it."""
    page = recorder.folder / PAGE
    report.user_properties.append((EVIDENCE, _shown(page, item.config.rootpath)))
    if recorder.result.fault:
        report.user_properties.append((FAULT, recorder.result.fault))
    try:
        attachments.to_pytest_html(item.config, report, page)
        attachments.to_allure(item.config, recorder.folder)
    except Exception as error:  # noqa: BLE001 - as above: a report that others write
        return [("agent attachments", f"could not be attached: {_in_words(error)}\n")]
    return []


def _shown(path: Path, root: Path) -> str:
    """Spell a path as seen from the root folder, the same on all systems."""
    with suppress(ValueError):  # on Windows: on another drive
        return Path(os.path.relpath(path, root)).as_posix()
    return path.as_posix()
