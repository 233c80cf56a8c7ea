"""Verdicts on tests by all their trials, given in the process that writes pytest's reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from pytest_agent_sandbox.evidence import folders, results_table
from pytest_agent_sandbox.evidence.story import Group
from pytest_agent_sandbox.plugin.fixtures import HAS_WORKERS, SESSION
from pytest_agent_sandbox.plugin.options import resolve
from pytest_agent_sandbox.plugin.pytest_run import output_folder, run_id, trials_file
from pytest_agent_sandbox.plugin.report.finish import EVIDENCE
from pytest_agent_sandbox.plugin.trials.marks import TrialId
from pytest_agent_sandbox.plugin.trials.reports import ATTRIBUTE
from pytest_agent_sandbox.trials.group import Plan, Standing, TrialOutcome, standing
from pytest_agent_sandbox.trials.ledger import TrialLedger
from pytest_agent_sandbox.trials.statistics import pass_at_k, wilson_interval

_NAME = "agent_sandbox_trial_verdicts"
#: What cacheprovider keeps of failed tests, for `--lf`, and stepwise for `--sw` (pytest 9.2).
_LAST_FAILED, _STEPWISE = "cache/lastfailed", "cache/stepwise"


def of(config: pytest.Config, session: pytest.Session | None) -> TrialVerdicts:
    """Return the plugin that gives the verdicts of this run."""
    known = config.pluginmanager.get_plugin(_NAME)
    if known is None:
        known = TrialVerdicts(config, session)
        config.pluginmanager.register(known, _NAME)
    assert isinstance(known, TrialVerdicts)
    return known


@dataclass
class _Trials:
    """Trials of one test, as far as they are known."""

    name: str
    location: tuple[str, int | None, str]
    plan: Plan
    #: The node ids of those that were selected, and of all there are.
    ids: list[str]
    all_ids: list[str]
    outcomes: dict[int, TrialOutcome] = field(default_factory=dict)
    #: Why the test is expected to fail, and whether it must.
    expected: tuple[str, bool] | None = None
    #: Sandboxes that failed.
    faults: int = 0
    #: Trials that failed before the verdict was there, by their places: number, headline, page,
    #: pytest's report with its sections, and whether that was expected.
    failures: dict[int, dict[str, Any]] = field(default_factory=dict)
    told: Standing | None = None

    @property
    def selected(self) -> int:
        return len(self.ids)

    @property
    def stands(self) -> Standing:
        return self.told or standing(self.plan, self.selected, self.outcomes)

    @property
    def shown(self) -> list[dict[str, Any]]:
        """Return the failures that count, in order: others ended after the one that settled it."""
        return [one for place, one in sorted(self.failures.items()) if place <= self.stands.last]


class TrialVerdicts:
    """Plugin that adds a report for each test that is tried several times.

    Args:
        config: pytest's.
        session: pytest's.
    """

    def __init__(self, config: pytest.Config, session: pytest.Session | None) -> None:
        self._config = config
        self._session = session
        self._groups: dict[str, _Trials] = {}
        #: Ids of tests whose worker has crashed.
        self._crashed: list[str] = []

    def count(self, report: pytest.TestReport) -> None:
        """Count a trial that has ended, and report the verdict once it is settled."""
        facts = getattr(report, ATTRIBUTE)
        self._judge(self._add(report, facts))

    def lose(self, node_id: str) -> None:
        """Take a trial for lost that has ended without a report of its own."""
        self._crashed.append(node_id)
        for trials in self._groups.values():
            self._judge(trials)

    def _judge(self, trials: _Trials) -> None:
        for place, node_id in enumerate(trials.ids):
            if node_id in self._crashed and place not in trials.outcomes:
                trials.outcomes[place] = "lost"
                # The workers look there, whether a trial is needed.
                TrialLedger(trials_file(self._config)).add(trials.name, place, "lost")
        stands = trials.stands
        if stands.verdict != "open" and trials.told is None:
            trials.told = stands
            self._report(trials)
            trials.failures.clear()  # they hold whole transcripts

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.TestReport
    ) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
        """Count a test that has passed by its trials, which pytest has counted already."""
        is_verdict = report.nodeid in self._groups and report.when == "call"
        if is_verdict and report.passed and not hasattr(report, "wasxfail"):
            return "", "", ("PASSED", {"green": True})
        return None

    @pytest.hookimpl(tryfirst=True)  # the run's page tells of the verdicts
    def pytest_sessionfinish(self) -> None:
        """Keep the verdicts with the run's results."""
        stash = self._config.stash
        if not self._groups or not (SESSION in stash or HAS_WORKERS in stash):
            return  # no test had a sandbox
        output = output_folder(self._config, resolve(self._config))
        if folders.is_of(output, run_id(self._config)):
            results_table.add_groups(output, [self._group(one) for one in self._groups.values()])

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say how each test did."""
        if self._groups and self._config.get_verbosity() >= 0:
            terminalreporter.section("agent trials")
            for trials in self._groups.values():
                for line in _lines(trials):
                    terminalreporter.write_line(line)

    @pytest.hookimpl(trylast=True)  # cacheprovider has written its file by then
    def pytest_unconfigure(self) -> None:
        """Have `--lf` run all trials of a test, or none: the verdict is about all of them."""
        cache = getattr(self._config, "cache", None)
        if cache is None:
            return
        known = cache.get(_LAST_FAILED, {})
        for trials in self._groups.values():
            # One may be there for an error in its teardown, or since a run of some of the trials.
            if known.pop(trials.name, False) or not known.keys().isdisjoint(trials.all_ids):
                known.update(dict.fromkeys(trials.all_ids, True))
        cache.set(_LAST_FAILED, known)
        stepwise = cache.get(_STEPWISE, None)
        if isinstance(stepwise, dict) and stepwise.get("last_failed") in self._groups:
            stepwise["last_failed"] = self._groups[stepwise["last_failed"]].ids[0]
            cache.set(_STEPWISE, stepwise)

    def _add(self, report: pytest.TestReport, facts: dict[str, Any]) -> _Trials:
        name = facts["group"]
        if name not in self._groups:
            file, line, _ = report.location
            count, rate, stops = facts["plan"]
            numbered = TrialId(*facts["id"]).numbered
            self._groups[name] = _Trials(
                name,
                (file, line, name.partition("::")[2].replace("::", ".")),
                Plan(count, rate, stops),
                ids=[numbered(number) for number in facts["selected"]],
                all_ids=[numbered(number) for number in range(1, count + 1)],
            )
        trials = self._groups[name]
        if "expected" in facts:
            trials.expected = (str(facts["expected"][0]), bool(facts["expected"][1]))
        trials.faults += facts["faults"]
        if facts["outcome"] is not None:
            trials.outcomes[facts["place"]] = facts["outcome"]
        if facts["outcome"] == "failed" and trials.told is None:
            pages = [value for key, value in report.user_properties if key == EVIDENCE]
            trials.failures[facts["place"]] = {
                **facts,
                "page": str(pages[0]) if pages else "",
                "sections": list(report.sections),
            }
        return trials

    def _report(self, trials: _Trials) -> None:
        """Report the test itself: it counts, its trials do not."""
        session = self._session
        if session is not None:
            session.testscollected += 1  # for the progress that the terminal shows
        for report in (_call(trials), _phase(trials, "teardown")):
            self._config.hook.pytest_runtest_logreport(report=report)
        workers = self._config.pluginmanager.get_plugin("dsession")
        if workers is not None and session is not None and session.shouldfail:
            workers.shouldstop = session.shouldfail  # -x: xdist (3.8) looks at its workers only

    def _group(self, trials: _Trials) -> Group:
        stands = trials.stands
        low, high = wilson_interval(stands.passed, stands.counted)
        return Group(
            test=trials.name,
            verdict=stands.verdict,
            passed=stands.passed,
            counted=stands.counted,
            selected=trials.selected,
            wanted=trials.plan.pass_rate,
            low=low,
            high=high,
            pass_at=[
                pass_at_k(stands.passed, stands.counted, k) for k in range(1, stands.counted + 1)
            ],
            faults=trials.faults,
        )


def _call(trials: _Trials) -> pytest.TestReport:
    report = _phase(trials, "call")
    has_failed = trials.stands.verdict == "failed"
    if has_failed:
        report.outcome, report.longrepr = "failed", _explanation(trials)
        report.sections = next((one["sections"] for one in trials.shown), [])
    if trials.expected is None:
        return report
    reason, must_fail = trials.expected
    if not has_failed and must_fail:
        report.outcome, report.longrepr = "failed", f"[XPASS(strict)] {reason}"
    elif not has_failed:
        report.wasxfail = reason
    elif all(one["is_expected"] for one in trials.shown):
        report.outcome, report.wasxfail = "skipped", reason
    return report


def _phase(trials: _Trials, when: Literal["call", "teardown"]) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=trials.name,
        location=trials.location,
        keywords={},
        outcome="passed",
        longrepr=None,
        when=when,
        user_properties=list(_properties(trials)),
    )


def _lines(trials: _Trials) -> Iterator[str]:
    stands = trials.stands
    if stands.verdict == "open":
        yield f"{trials.name}: no verdict: {len(trials.outcomes)} of {trials.selected} trials ended"
        return
    yield f"{trials.name}: {stands.verdict.upper()}: {_score(trials)}"
    spared = trials.selected - len(trials.outcomes)
    notes = []
    at = min(3, stands.counted - 1)  # of all of them at least one has passed, or none
    if at > 1:
        notes.append(f"pass@{at} {_percent(pass_at_k(stands.passed, stands.counted, at))}")
    if spared:
        notes.append(f"settled early, {_trials(spared)} not needed")
    more = sum(outcome != "lost" for outcome in trials.outcomes.values()) - stands.counted
    if more:
        notes.append(f"{_trials(more)} ended after it was settled")
    if trials.selected < trials.plan.count:
        notes.append(f"{trials.selected} of {trials.plan.count} were selected")
    if trials.faults:
        noun = "sandbox" if trials.faults == 1 else "sandboxes"
        notes.append(f"{trials.faults} failed {noun}, tried again")
    lost = sum(outcome == "lost" for outcome in trials.outcomes.values())
    if lost:
        notes.append(f"{_trials(lost)} said nothing of the agent")
    if notes:
        yield f"    {'; '.join(notes)}"


def _score(trials: _Trials) -> str:
    stands = trials.stands
    low, high = wilson_interval(stands.passed, stands.counted)
    share = stands.passed / stands.counted
    return (
        f"{stands.passed} of {_trials(stands.counted)} passed ({_percent(share)}, with 95% "
        f"confidence {_percent(low)} to {_percent(high)}); {_percent(trials.plan.pass_rate)} are "
        "wanted"
    )


def _percent(share: float) -> str:
    """Spell a share in whole percents, unless that would say all or none where it is not."""
    whole = f"{share:.0%}"
    return f"{share:.2%}" if whole in ("0%", "100%") and share not in (0.0, 1.0) else whole


def _trials(count: int) -> str:
    return f"{count} trial" if count == 1 else f"{count} trials"


def _explanation(trials: _Trials) -> str:
    """Return what pytest shows as the failure."""
    lines = [f"{_score(trials)}.", ""]
    for failure in trials.shown:
        lines.append(f"trial {failure['number']}: {failure['headline']}")
        if failure["page"]:
            lines.append(f"    {failure['page']}")
    if trials.shown and trials.shown[0]["report"]:
        shown = trials.shown[0]
        lines += ["", f"This is trial {shown['number']}:", "", shown["report"]]
    return "\n".join(lines)


def _properties(trials: _Trials) -> Iterator[tuple[str, str | int | float]]:
    stands = trials.stands
    low, high = wilson_interval(stands.passed, stands.counted)
    yield "agent_trials_passed", stands.passed
    yield "agent_trials_counted", stands.counted
    yield "agent_trials_wanted", trials.plan.pass_rate
    yield "agent_trials_interval", f"{low:.3f} to {high:.3f}"
    yield "agent_trials_sandbox_faults", trials.faults
    for k in range(1, stands.counted + 1):
        yield f"agent_trials_pass_at_{k}", round(pass_at_k(stands.passed, stands.counted, k), 4)
