"""Items that are trials: like any other, but for how they are run and how they end."""

from __future__ import annotations

from dataclasses import astuple
from itertools import chain, count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import runtestprotocol
from _pytest.skipping import xfailed_key

from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.evidence.verdict import Judgement, judge
from pytest_agent_sandbox.plugin.pytest_run import trials_file
from pytest_agent_sandbox.plugin.report.outcome import phases
from pytest_agent_sandbox.plugin.trials.marks import TrialId, trial_of
from pytest_agent_sandbox.plugin.trials.reports import ATTRIBUTE, RERUN
from pytest_agent_sandbox.trials.group import standing
from pytest_agent_sandbox.trials.ledger import TrialLedger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_agent_sandbox.trials.group import TrialOutcome

#: How often a trial is tried whose sandbox fails.
_ATTEMPTS = 3
_LONGEST_REPORT = 20_000
#: Of an item: the name of its test, and the trials of it that were selected. Of the session: set.
_GROUP = pytest.StashKey[tuple[str, "list[pytest.Item]"]]()
_IS_GROUPED = pytest.StashKey[bool]()
#: The failures of its subtests in this attempt.
_SUBTESTS = pytest.StashKey[list[pytest.TestReport]]()


def run(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Run a trial, or skip it where the verdict on its test is settled already.

    What has failed is reported like an expected failure: whether the test has failed is for all
    its trials together to say. An attempt whose sandbox fails says nothing of the agent, and is
    made again.
    """
    trial = trial_of(item)
    assert trial is not None
    try:
        ledger = TrialLedger(trials_file(item.config))
    except SandboxError as error:
        _refuse(item, error)
        return
    group, items = _group(item)
    place = next(place for place, one in enumerate(items) if one is item)
    stands = standing(trial.plan, len(items), ledger.outcomes(group))
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
        "selected": [_number(one) for one in items],
        "id": astuple(TrialId.of(item, trial)),
        "plan": [trial.plan.count, trial.plan.pass_rate, trial.plan.stops_early],
        "number": trial.number,
        "outcome": outcome,
        "faults": faults,
    }
    if outcome is not None:
        ledger.add(group, place, outcome)
        facts |= _settle(item, reports, outcome)
    setattr(reports[-1], ATTRIBUTE, facts)
    _log(item, reports)
    _end_with_session(item, nextitem)


def note_subtest(item: pytest.Item, report: pytest.TestReport) -> None:
    """Have a subtest that failed be the trial's failure, and not one of the run.

    pytest (9.2) makes a subtest's report before the test's own is made, and logs it at once.
    """
    item.stash.setdefault(_SUBTESTS, []).append(report)
    report.outcome = "skipped"
    report.wasxfail = "trial failed"


def _attempts(
    item: pytest.Item, nextitem: pytest.Item | None
) -> tuple[list[pytest.TestReport], int]:
    """Return the reports of the attempt that counts, and how many did not: their sandbox failed."""
    for attempt in range(1, _ATTEMPTS + 1):
        item.stash[_SUBTESTS] = []
        # pytest-rerunfailures counts its attempts in the same attribute.
        item.execution_count = attempt  # type: ignore[attr-defined]
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        if attempt == _ATTEMPTS or not _is_fault(item):
            break
        failed = [report for report in reports if report.failed] or reports[-1:]  # or a subtest
        for report in failed:
            report.outcome = RERUN  # type: ignore[assignment]
        _log(item, failed)
        _forget_failed_fixtures(item)
    return reports, attempt - 1


def _refuse(item: pytest.Item, error: SandboxError) -> None:
    """Report an error of a trial that is not run."""

    def fail() -> None:
        raise error

    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    call = pytest.CallInfo.from_call(fail, when="setup")
    _log(item, [item.ihook.pytest_runtest_makereport(item=item, call=call)])


def _forget_failed_fixtures(item: pytest.Item) -> None:
    """Have fixtures made anew that have raised: pytest (9.2) keeps that, for their whole scope."""
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


def _end_with_session(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End wider fixtures with the last test: with `-x` the verdict has just made it the last.

    pytest does so before it reports a test, and reports errors in there as those of the test.
    """
    if nextitem is not None and (item.session.shouldfail or item.session.shouldstop):
        state = item.session._setupstate
        call = pytest.CallInfo.from_call(
            lambda: state.teardown_exact(None),
            when="teardown",
            reraise=(pytest.exit.Exception, KeyboardInterrupt),
        )
        if call.excinfo is not None:
            _log(item, [item.ihook.pytest_runtest_makereport(item=item, call=call)])


def _is_fault(item: pytest.Item) -> bool:
    return _judge(item).fault == "sandbox"


def _outcome(item: pytest.Item, reports: Sequence[pytest.TestReport]) -> TrialOutcome:
    call = _call_of(reports)
    if call is None:
        return "lost"
    if hasattr(call, "wasxfail"):  # expected or not: it has failed, or passed
        return "passed" if call.passed else "failed"
    if _is_too_good(item, call):
        return "passed"
    if call.passed and not item.stash[_SUBTESTS]:
        return "passed"
    if not call.skipped and _judge(item).fault not in ("sandbox", "budget"):
        return "failed"
    return "lost"


def _settle(
    item: pytest.Item, reports: Sequence[pytest.TestReport], outcome: TrialOutcome
) -> dict[str, Any]:
    """Make the report of a failed trial an expected failure; return what the verdict shows."""
    call, mark = _call_of(reports), _expected(item)
    facts: dict[str, Any] = {}
    if call is None:
        return facts
    if mark is not None:  # whether it does is for the verdict to say
        facts["expected"] = [mark.reason, mark.strict]
    if mark is not None and _is_too_good(item, call):
        call.outcome, call.longrepr, call.wasxfail = "passed", None, mark.reason
    elif outcome == "failed":
        facts["headline"] = _headline(item, [call, *item.stash[_SUBTESTS]])
        facts["is_expected"] = mark is not None and hasattr(call, "wasxfail")
        texts = [report.longreprtext for report in (*item.stash[_SUBTESTS], call)]
        facts["report"] = "\n\n".join(filter(None, texts))[:_LONGEST_REPORT]
        call.outcome = "skipped"
        call.wasxfail = f"trial failed: {facts['headline']}"
    return facts


def _call_of(reports: Sequence[pytest.TestReport]) -> pytest.TestReport | None:
    return next((report for report in reports if report.when == "call"), None)


def _is_too_good(item: pytest.Item, call: pytest.TestReport) -> bool:
    """Tell whether it has failed because it passed, and is marked `xfail(strict=True)`."""
    mark = _expected(item)
    return call.failed and mark is not None and mark.strict and isinstance(call.longrepr, str)


def _expected(item: pytest.Item) -> Any:
    """Return the mark of a test that is expected to fail; else None."""
    return None if item.config.getoption("runxfail") else item.stash.get(xfailed_key, None)


def _judge(item: pytest.Item) -> Judgement:
    return judge({name: vars(phase) for name, phase in phases(item).items()})


def _headline(item: pytest.Item, reports: Sequence[pytest.TestReport]) -> str:
    told = _judge(item).headline
    if told:
        return told
    crash = next((found for one in reports if (found := _crash(one))), None)
    return str(getattr(crash, "message", "")).partition("\n")[0]


def _crash(report: pytest.TestReport) -> Any:
    return getattr(report.longrepr, "reprcrash", None)


def _group(item: pytest.Item) -> tuple[str, list[pytest.Item]]:
    """Return the name of an item's test, and its trials that were selected, in order."""
    if not item.session.stash.get(_IS_GROUPED, False):
        item.session.stash[_IS_GROUPED] = True
        _group_all(item.session.items)
    return item.stash[_GROUP]


def _number(item: pytest.Item) -> int:
    trial = trial_of(item)
    assert trial is not None
    return trial.number


def _group_all(items: Sequence[pytest.Item]) -> None:
    """Tell trials their test by its name; pytest lets tests share a name, which get a number."""
    groups: dict[str, dict[int, pytest.Item]] = {}
    for item in items:
        trial = trial_of(item)
        if trial is None:
            continue
        name = TrialId.of(item, trial).name
        names = chain([name], (f"{name} ({more})" for more in count(2)))
        own = next(one for one in names if trial.number not in groups.get(one, {}))
        groups.setdefault(own, {})[trial.number] = item
    for name, trials in groups.items():
        for item in trials.values():
            item.stash[_GROUP] = name, list(trials.values())
