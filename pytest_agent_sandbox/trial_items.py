"""Runs trials: items like any other, but for how they end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import runtestprotocol

from pytest_agent_sandbox import reporting
from pytest_agent_sandbox.evidence.verdict import judge
from pytest_agent_sandbox.run import trials_file
from pytest_agent_sandbox.trial_marks import group_of, trial_of
from pytest_agent_sandbox.trial_reports import ATTRIBUTE
from pytest_agent_sandbox.trials.group import standing
from pytest_agent_sandbox.trials.ledger import TrialLedger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_agent_sandbox.trials.group import TrialOutcome

#: How often a trial is tried whose sandbox fails.
_ATTEMPTS = 3
#: What stands for a report of an attempt that does not count; pytest-rerunfailures calls it so.
_RERUN = "rerun"
_LONGEST_REPORT = 20_000
_GROUPS = pytest.StashKey[dict[str, list[str]]]()


def run(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Runs a trial, or skips it where the verdict on its test is settled already.

    What has failed is reported like an expected failure: whether the test has failed is for all
    its trials together to say. An attempt whose sandbox fails says nothing of the agent, and is
    made again.
    """
    trial = trial_of(item)
    assert trial is not None
    ledger = TrialLedger(trials_file(item.config))
    group, ids = group_of(item), _selected(item)
    place = ids.index(item.nodeid)
    stands = standing(trial.plan, len(ids), ledger.outcomes(group))
    is_needed = stands.verdict == "open"
    if not is_needed:
        item.add_marker(
            pytest.mark.skip(
                f"not needed: the test has {stands.verdict} with {stands.passed} of "
                f"{stands.counted} trials"
            )
        )
    reports, faults = _attempts(item, nextitem)
    outcome = _outcome(item, reports) if is_needed else None
    facts: dict[str, Any] = {
        "group": group,
        "place": place,
        "ids": ids,
        "plan": [trial.plan.count, trial.plan.pass_rate, trial.plan.stops_early],
        "number": trial.number,
        "outcome": outcome,
        "faults": faults,
        "headline": _headline(item, reports) if outcome == "failed" else "",
    }
    if outcome is not None:
        ledger.add(group, place, outcome)
    for report in reports:
        if outcome == "failed" and report.when == "call":
            facts["report"] = report.longreprtext[:_LONGEST_REPORT]
            report.outcome = "skipped"
            report.wasxfail = f"trial failed: {facts['headline']}"
    setattr(reports[-1], ATTRIBUTE, facts)
    _log(item, reports)


def _attempts(
    item: pytest.Item, nextitem: pytest.Item | None
) -> tuple[list[pytest.TestReport], int]:
    """The reports of the attempt that counts, and how many did not, for their sandbox failed."""
    for attempt in range(1, _ATTEMPTS + 1):
        # pytest-rerunfailures counts its attempts in the same attribute.
        item.execution_count = attempt  # type: ignore[attr-defined]
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        if attempt == _ATTEMPTS or not _is_fault(item):
            break
        for report in reports:
            if report.failed:
                report.outcome = _RERUN  # type: ignore[assignment]
        _log(item, [report for report in reports if report.outcome == _RERUN])
        _forget_failed_fixtures(item)
    return reports, attempt - 1


def _forget_failed_fixtures(item: pytest.Item) -> None:
    """Has fixtures made anew that have raised: pytest (9.2) keeps that, for their whole scope."""
    info = getattr(item, "_fixtureinfo", None)
    for definitions in getattr(info, "name2fixturedefs", {}).values():
        for definition in definitions:
            kept = getattr(definition, "cached_result", None)
            if kept is not None and kept[2] is not None:
                definition.finish(SimpleNamespace(node=item))  # all that it wants of a request


def _log(item: pytest.Item, reports: Sequence[pytest.TestReport]) -> None:
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def _is_fault(item: pytest.Item) -> bool:
    return judge(_phases(item))[1] == "sandbox"


def _outcome(item: pytest.Item, reports: Sequence[pytest.TestReport]) -> TrialOutcome:
    for report in reports:
        if report.when != "call":
            continue
        if hasattr(report, "wasxfail"):  # expected or not: it has failed, or passed
            return "passed" if report.passed else "failed"
        # A failed subtest is known by its own report; the test's says "passed" (pytest 9.2).
        if report.passed and not reporting.failed(item):
            return "passed"
        if not report.skipped and judge(_phases(item))[1] not in ("sandbox", "budget"):
            return "failed"
    return "lost"


def _phases(item: pytest.Item) -> dict[str, dict[str, Any]]:
    return {name: vars(phase) for name, phase in reporting.phases(item).items()}


def _headline(item: pytest.Item, reports: Sequence[pytest.TestReport]) -> str:
    told = judge(_phases(item))[2]
    if told:
        return told
    crash = next((getattr(one.longrepr, "reprcrash", None) for one in reports if one.failed), None)
    return str(getattr(crash, "message", "")).partition("\n")[0]


def _selected(item: pytest.Item) -> list[str]:
    """The ids of the trials of the same test that were selected, in their order."""
    groups = item.session.stash.get(_GROUPS, None)
    if groups is None:
        groups = item.session.stash[_GROUPS] = {}
        for one in item.session.items:
            if trial_of(one) is not None:
                groups.setdefault(group_of(one), []).append(one.nodeid)
    return groups[group_of(item)]
