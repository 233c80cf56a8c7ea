"""Which tests are tried several times, and which trial of which test an item is."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from pytest_agent_sandbox.cassette_files import own_node_id
from pytest_agent_sandbox.options import TRIAL_FIXTURE, TRIALS_MARKER, trials
from pytest_agent_sandbox.trials.group import Plan

_ARGUMENTS = {"n", "pass_rate", "early_stop"}


@dataclass(frozen=True)
class Trial:
    """One of the trials of a test: what its fixture is parametrized with."""

    number: int
    plan: Plan


def repeat(metafunc: pytest.Metafunc) -> None:
    """Makes a test's trials, where its marker or the command line asks for several."""
    plan = _plan(metafunc)
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


def _plan(metafunc: pytest.Metafunc) -> Plan | None:
    marker = metafunc.definition.get_closest_marker(TRIALS_MARKER)
    count = trials(metafunc.config)
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
    """What is wrong with a marker's arguments; empty where nothing is."""
    if marker.args:
        return "it takes keyword arguments only: n=5, pass_rate=0.8"
    unknown = sorted(set(marker.kwargs) - _ARGUMENTS)
    if unknown:
        return f"unknown argument {unknown[0]!r}; known are {', '.join(sorted(_ARGUMENTS))}"
    count, rate = marker.kwargs.get("n", 1), marker.kwargs.get("pass_rate", 1.0)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        return f"n={count!r} must be a whole number above 0"
    if not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 < rate <= 1:
        return f"pass_rate={rate!r} must be above 0, and 1 at most: 0.8 is four of five"
    if not isinstance(marker.kwargs.get("early_stop", True), bool):
        return f"early_stop={marker.kwargs['early_stop']!r} must be True or False"
    return ""


def trial_of(item: pytest.Item) -> Trial | None:
    """Which trial of its test an item is; None for a test that is run once."""
    trial = getattr(getattr(item, "callspec", None), "params", {}).get(TRIAL_FIXTURE)
    return trial if isinstance(trial, Trial) else None


def group_of(item: pytest.Item) -> str:
    """The node id of the test whose trial an item is: its own without the trial."""
    return re.sub(
        r"(\[|-)trial\d+\]$", lambda found: "]" * (found[1] == "-"), own_node_id(item.nodeid)
    )
