"""Marks of tests that are tried several times, and which trial of which test an item is."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pytest_agent_sandbox.plugin.options import TRIAL_FIXTURE, TRIALS_MARKER, trials
from pytest_agent_sandbox.settings.suggest import did_you_mean
from pytest_agent_sandbox.trials.group import Plan

_ARGUMENTS = {"n", "pass_rate", "early_stop"}


@dataclass(frozen=True)
class Trial:
    """Trial of a test: what its fixture is parametrized with."""

    number: int
    plan: Plan


def repeat(metafunc: pytest.Metafunc) -> None:
    """Make a test's trials, where its marker or the command line asks for several."""
    plan = _plan(metafunc.definition, metafunc.config)
    if plan is None:
        return
    if TRIAL_FIXTURE not in metafunc.fixturenames:
        metafunc.fixturenames.append(TRIAL_FIXTURE)
    numbers = range(1, plan.count + 1)
    metafunc.parametrize(
        TRIAL_FIXTURE,
        [Trial(number, plan) for number in numbers],
        ids=[f"trial{number}" for number in numbers],
        indirect=True,
    )


def check(item: pytest.Item) -> None:
    """Fail a test whose marker pytest has made no trials of."""
    trial = trial_of(item)
    of_parameters = getattr(getattr(item, "callspec", None), "marks", ())
    is_of_parameter = any(mark.name == TRIALS_MARKER for mark in of_parameters)
    if not is_of_parameter and trial is not None and trial.plan == _plan(item, item.config):
        return
    pytest.fail(
        f"@pytest.mark.{TRIALS_MARKER} has no effect here. It belongs on a function, a class or a "
        "module, for pytest makes the trials of them: not on a pytest.param, not on a method of a "
        "unittest.TestCase, and not added while tests are collected.",
        pytrace=False,
    )


def _plan(node: pytest.Item, config: pytest.Config) -> Plan | None:
    marker = node.get_closest_marker(TRIALS_MARKER)
    count = trials(config)
    if marker is None:
        return None if count is None else Plan(count, stops_early=False)
    problem = _problem(marker)
    if problem:
        pytest.fail(f"@pytest.mark.{TRIALS_MARKER}: {problem}", pytrace=False)
    values = marker.kwargs
    return Plan(
        count or values.get("n", 5),
        float(values.get("pass_rate", 1.0)),
        # Who gives a number wants to know how often it passes: all of them have to run.
        count is None and values.get("early_stop", True),
    )


def _problem(marker: pytest.Mark) -> str:
    """Say what is wrong with a marker's arguments; empty where nothing is."""
    if marker.args:
        return "it takes keyword arguments only: n=5, pass_rate=0.8"
    unknown = sorted(set(marker.kwargs) - _ARGUMENTS)
    if unknown:
        hint = did_you_mean(unknown[0], _ARGUMENTS) or f"Known are {', '.join(sorted(_ARGUMENTS))}."
        return f"unknown argument {unknown[0]!r}. {hint}"
    count, rate = marker.kwargs.get("n", 1), marker.kwargs.get("pass_rate", 1.0)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        return f"n={count!r} must be a whole number above 0"
    if not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 < rate <= 1:
        return f"pass_rate={rate!r} must be above 0, and 1 at most: 0.8 is four of five"
    if not isinstance(marker.kwargs.get("early_stop", True), bool):
        return f"early_stop={marker.kwargs['early_stop']!r} must be True or False"
    return ""


def trial_of(item: pytest.Item) -> Trial | None:
    """Return which trial of its test an item is; None for a test that is run once."""
    trial = getattr(getattr(item, "callspec", None), "params", {}).get(TRIAL_FIXTURE)
    return trial if isinstance(trial, Trial) else None


@dataclass(frozen=True)
class TrialId:
    """Parts of a trial's node id, `test.py::test_it[a-trial2-b]`.

    Attributes:
        test: `test.py::test_it`
        before: The ids of parameters before the trial's: `a`
        after: Those behind it, of a plugin that adds parameters later: `b`
        group: What xdist's `--dist loadgroup` adds (3.8, with some versions of pytest): `@name`
    """

    test: str
    before: str
    after: str
    group: str

    @classmethod
    def of(cls, item: pytest.Item, trial: Trial) -> TrialId:
        """Return those of an item that is a trial."""
        parameters = item.callspec.id  # type: ignore[attr-defined]
        test, _, group = item.nodeid.rpartition(f"[{parameters}]")
        before, _, after = f"-{parameters}-".rpartition(f"-trial{trial.number}-")
        return cls(test, before[1:], after[:-1], group)

    @property
    def name(self) -> str:
        """Return the node id of the test whose trial it is: its own without the trial."""
        parameters = "-".join(part for part in (self.before, self.after) if part)
        return f"{self.test}[{parameters}]" if parameters else self.test

    def numbered(self, number: int) -> str:
        """Return the node id of another trial of the same test."""
        before, after = self.before and f"{self.before}-", self.after and f"-{self.after}"
        return f"{self.test}[{before}trial{number}{after}]{self.group}"
