"""The verdict of a group of trials."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_agent_sandbox.trials.group import Plan, standing
from pytest_agent_sandbox.trials.statistics import wilson_interval

GROUPS = 200
outcomes = st.lists(st.sampled_from(["passed", "failed", "lost"]), min_size=1, max_size=12)


def of(*marks: str) -> dict[int, str]:
    words = {"+": "passed", "-": "failed", "0": "lost"}
    return {place: words[mark] for place, mark in enumerate(marks) if mark != "?"}


@pytest.mark.parametrize(
    ("marks", "verdict", "counted"),
    [
        ("?????", "open", 0),
        ("+????", "open", 1),
        ("++++?", "passed", 4),
        ("--???", "failed", 2),  # one may fail
        ("+-+-?", "failed", 4),
        ("+-+++", "passed", 5),
        ("?-+++", "open", 0),  # the first is still running
        ("0++++", "passed", 4),
        ("00000", "open", 0),
    ],
)
def test_four_of_five_are_wanted(marks, verdict, counted):
    found = standing(Plan(5, 0.8), 5, of(*marks))
    assert (found.verdict, found.counted) == (verdict, counted)


def test_what_comes_after_the_verdict_does_not_count():
    first = standing(Plan(5, 0.8), 5, of(*"--???"))
    assert standing(Plan(5, 0.8), 5, of(*"--+++")) == first


def test_without_early_stop_all_count():
    plan = Plan(5, 0.8, stops_early=False)
    assert standing(plan, 5, of(*"--++?")).verdict == "open"
    assert standing(plan, 5, of(*"--+++")).verdict == "failed"


@pytest.mark.parametrize(
    ("rate", "of_", "needed"), [(0.6, 5, 3), (0.8, 5, 4), (0.01, 3, 1), (1.0, 7, 7)]
)
def test_needed_passes(rate, of_, needed):
    assert Plan(of_, rate).needed(of_) == needed


@given(outcomes, st.floats(0.05, 1.0), st.booleans(), st.randoms())
def test_the_verdict_does_not_depend_on_who_ends_first(found, rate, stops_early, draw):
    plan = Plan(len(found), rate, stops_early)
    whole = standing(plan, len(found), dict(enumerate(found)))
    arrival = list(range(len(found)))
    draw.shuffle(arrival)
    known = {}
    for place in arrival:
        known[place] = found[place]
        now = standing(plan, len(found), known)
        if now.verdict != "open":
            assert now == whole
    assert (whole.verdict == "open") == (set(found) == {"lost"})


@given(outcomes, st.floats(0.05, 1.0))
def test_all_trials_give_the_verdict_that_the_rate_says(found, rate):
    judged = [outcome for outcome in found if outcome != "lost"]
    plan = Plan(len(found), rate, stops_early=False)
    verdict = standing(plan, len(found), dict(enumerate(found))).verdict
    if judged:
        is_enough = sum(one == "passed" for one in judged) >= plan.needed(len(judged))
        assert verdict == ("passed" if is_enough else "failed")


def test_an_agent_that_fails_one_time_in_four():
    """The numbers of docs/trials.md, of which the plugin's own test measures 80 groups."""
    draw = random.Random(4)
    plan = Plan(10, 0.6)
    groups = 4000
    right = same = counted = covered = 0
    for _ in range(groups):
        found = {n: "passed" if draw.random() < 0.75 else "failed" for n in range(10)}
        early = standing(plan, 10, found)
        full = standing(Plan(10, 0.6, stops_early=False), 10, found)
        right += early.verdict == "passed"
        same += early.verdict == full.verdict
        counted += early.counted
        low, high = wilson_interval(full.passed, full.counted)
        covered += low <= 0.75 <= high
    assert right / groups == pytest.approx(0.915, abs=0.015)  # all ten trials: 0.922
    assert same / groups > 0.97
    assert counted / groups < 7  # of 10
    assert covered / groups > 0.93


@pytest.mark.parametrize(("count", "rate"), [(100, 1.0), (80, 0.99), (200, 0.9)])
def test_a_perfect_agent_passes_however_many_trials_there_are(count, rate):
    plan = Plan(count, rate)
    for passed in range(1, count + 1):
        found = standing(plan, count, dict.fromkeys(range(passed), "passed"))
        assert found.verdict in ("open", "passed")
    assert found.verdict == "passed"


def test_lost_trials_settle_nothing():
    found = standing(Plan(100), 100, dict.fromkeys(range(60), "lost"))
    assert (found.verdict, found.counted, found.possible) == ("open", 0, 40)
