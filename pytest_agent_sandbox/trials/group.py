"""The verdict of a group of trials, and when it is settled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pytest_agent_sandbox.trials.statistics import chance_to_pass

#: A `lost` trial says nothing about the agent: its sandbox failed, or it was skipped.
TrialOutcome = Literal["passed", "failed", "lost"]
GroupVerdict = Literal["passed", "failed", "open"]

#: A verdict is settled when the remaining trials will not change it with this probability.
_SURE = 0.975


@dataclass(frozen=True)
class Plan:
    """The plan for a test that is tried several times.

    Args:
        count: How many trials there are.
        pass_rate: The share of them that has to pass, above 0 and up to 1.
        stops_early: Whether the remaining trials are skipped once the verdict is settled.
    """

    count: int
    pass_rate: float = 1.0
    stops_early: bool = True

    def needed(self, of: int) -> int:
        """Return how many of so many trials have to pass."""
        return max(1, math.ceil(self.pass_rate * of - 1e-9))  # 0.6 * 5 is 3.0000000000000004


@dataclass(frozen=True)
class Standing:
    """The standing of a group of trials.

    Attributes:
        verdict: `open` until it is settled.
        passed: Trials that count and passed.
        counted: Trials that count: those up to the one that settled the verdict.
        last: The place of that trial, or of the last known so far; -1 if there is none.
        needed: How many of the possible trials have to pass.
        possible: How many trials can count: all that were selected, without the lost ones so far.
    """

    verdict: GroupVerdict
    passed: int
    counted: int
    last: int
    needed: int
    possible: int


def standing(plan: Plan, selected: int, outcomes: Mapping[int, TrialOutcome]) -> Standing:
    """Return how a group stands after some of its trials.

    Trials count in the order of their numbers, whatever the order in which they end: with several
    workers the verdict is the same as with one.

    Args:
        plan: The plan for the test.
        selected: How many trials were selected to run, of which some may be lost.
        outcomes: The outcomes so far, by the trial's place among the selected, from 0.
    """
    passed = counted = 0
    last = -1
    possible = selected
    verdict: GroupVerdict = "open"
    for place in range(selected):
        outcome = outcomes.get(place)
        if outcome is None:
            break
        if outcome == "lost":
            possible -= 1
        else:
            last = place
            counted += 1
            passed += outcome == "passed"
        if not possible:
            break
        verdict = _settled(plan, passed, counted, possible)
        if verdict != "open":
            break
    return Standing(verdict, passed, counted, last, plan.needed(possible), possible)


def _settled(plan: Plan, passed: int, counted: int, possible: int) -> GroupVerdict:
    left = possible - counted
    if not plan.stops_early and left:
        return "open"
    needed = plan.needed(possible)
    # With many trials to come, even a spotless beginning promises little: a group passes only after
    # a trial has passed, and fails only after one has failed.
    if passed and chance_to_pass(passed, counted - passed, left, needed) >= _SURE:
        return "passed"
    is_failing = counted > passed
    if is_failing and chance_to_pass(passed, counted - passed, left, needed) <= 1 - _SURE:
        return "failed"
    return "open"
