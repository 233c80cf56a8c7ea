"""The statistics of trials: what they say about an agent, and what they do not."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from math import comb, exp, lgamma, sqrt
from statistics import NormalDist, fmean

#: How often an interval holds the true rate.
CONFIDENCE = 0.95
#: Regroupings that `mean_difference` tries: its p-values are good to about 0.002 near 0.05.
_REGROUPINGS = 10_000


def wilson_interval(passed: int, counted: int) -> tuple[float, float]:
    """Return the Wilson score interval of a pass rate, at 95 % confidence.

    Wilson (1927), "Probable inference, the law of succession, and statistical inference". Unlike
    the textbook's interval, it is useful with few trials, and at 0 and 1.

    Args:
        passed: Trials that passed.
        counted: Trials in all.
    """
    if not counted:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    rate = passed / counted
    middle = rate + z * z / (2 * counted)
    reach = z * sqrt(rate * (1 - rate) / counted + z * z / (4 * counted * counted))
    scale = 1 + z * z / counted
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)


def pass_at_k(passed: int, counted: int, k: int) -> float:
    """Estimate, without bias, the probability that at least one of k trials passes.

    Chen et al. (2021), "Evaluating Large Language Models Trained on Code", section 2.1.

    Args:
        passed: Trials that passed.
        counted: Trials in all.
        k: At most `counted`.
    """
    return 1.0 - comb(counted - passed, k) / comb(counted, k)


@lru_cache(maxsize=10_000)  # each trial asks again for all before it
def chance_to_pass(passed: int, failed: int, left: int, needed: int) -> float:
    """Return the probability that the remaining trials bring the passes still needed.

    Nothing is assumed about the agent's rate before its first trial (a uniform prior). The passes
    to come therefore follow a beta-binomial distribution.

    Args:
        passed: Trials that passed.
        failed: Trials that failed.
        left: Trials still to come.
        needed: Passes needed in all.
    """
    missing = max(0, needed - passed)
    if not missing:
        return 1.0
    alpha, beta = passed + 1, failed + 1
    before = _log_beta(alpha, beta)
    return sum(
        exp(_log_comb(left, more) + _log_beta(alpha + more, beta + left - more) - before)
        for more in range(missing, left + 1)
    )


def rate_difference(passed: int, counted: int, passed_then: int, counted_then: int) -> float:
    """Return the p-value of the difference of two pass rates, by Fisher's exact test.

    Args:
        passed: Trials that passed in one run.
        counted: Trials in that run.
        passed_then: Trials that passed in the other run.
        counted_then: Trials in the other run.
    """
    total, passes = counted + counted_then, passed + passed_then

    def chance(of_first: int) -> float:
        return comb(counted, of_first) * comb(counted_then, passes - of_first) / comb(total, passes)

    seen = chance(passed)
    possible = range(max(0, passes - counted_then), min(counted, passes) + 1)
    # Equal chances must count as equal, whatever the last digits say.
    return min(1.0, sum(chance(some) for some in possible if chance(some) <= seen * (1 + 1e-9)))


def mean_difference(values: Sequence[float], values_then: Sequence[float]) -> float:
    """Return the p-value of the difference of two means, by a permutation test.

    The same values give the same answer.

    Args:
        values: The values of one run; at least one.
        values_then: The values of the other run; at least one.
    """
    seen = abs(fmean(values) - fmean(values_then))
    together = [*values, *values_then]
    shuffler = random.Random(0)  # noqa: S311 - nothing is secret here
    as_large = 0
    for _ in range(_REGROUPINGS):
        shuffler.shuffle(together)
        some, others = together[: len(values)], together[len(values) :]
        as_large += abs(fmean(some) - fmean(others)) >= seen * (1 - 1e-9)
    return (as_large + 1) / (_REGROUPINGS + 1)


def holm(chances: Sequence[float]) -> list[float]:
    """Return the p-values of several comparisons, corrected for their number by Holm's method.

    Without it, one of twenty comparisons would be "different with p < 0.05" by chance.
    """
    order = sorted(range(len(chances)), key=lambda place: chances[place])
    corrected = [0.0] * len(chances)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, chances[place] * (len(chances) - rank)))
        corrected[place] = highest
    return corrected


def _log_comb(of: int, some: int) -> float:
    return lgamma(of + 1) - lgamma(some + 1) - lgamma(of - some + 1)


def _log_beta(alpha: float, beta: float) -> float:
    return lgamma(alpha) + lgamma(beta) - lgamma(alpha + beta)
