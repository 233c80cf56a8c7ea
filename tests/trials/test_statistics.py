"""Our statistics against those of scipy, and against what they promise."""

from __future__ import annotations

import random
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_agent_sandbox.trials.statistics import (
    chance_to_pass,
    holm,
    mean_difference,
    pass_at_k,
    rate_difference,
    wilson_interval,
)

counts = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts)
def test_the_interval_is_wilsons(score):
    passed, counted = score
    expected = stats.binomtest(passed, counted).proportion_ci(0.95, method="wilson")
    assert wilson_interval(passed, counted) == pytest.approx((expected.low, expected.high))


def test_no_trial_says_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(counts, counts)
def test_the_difference_of_rates_is_fishers(first, second):
    table = [[first[0], first[1] - first[0]], [second[0], second[1] - second[0]]]
    assert rate_difference(*first, *second) == pytest.approx(stats.fisher_exact(table).pvalue)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(1, 30))
def test_the_chance_to_pass_is_beta_binomial(passed, failed, left, needed):
    missing = needed - passed
    expected = stats.betabinom(left, passed + 1, failed + 1).sf(missing - 1) if missing > 0 else 1.0
    assert chance_to_pass(passed, failed, left, needed) == pytest.approx(float(expected), abs=1e-9)


@pytest.mark.parametrize(("passed", "counted", "k"), [(3, 5, 1), (3, 5, 2), (0, 5, 3), (5, 5, 1)])
def test_pass_at_k_is_the_share_of_draws_with_a_pass(passed, counted, k):
    without = comb(counted - passed, k) / comb(counted, k)
    assert pass_at_k(passed, counted, k) == pytest.approx(1 - without)


def test_means_that_differ_and_means_that_do_not():
    draw = random.Random(7)
    some = [draw.gauss(10, 1) for _ in range(20)]
    others = [draw.gauss(10, 1) for _ in range(20)]
    far = [value + 3 for value in others]
    expected = stats.permutation_test(
        (some, others), lambda a, b: a.mean() - b.mean(), n_resamples=10_000, rng=1
    ).pvalue
    assert mean_difference(some, others) == pytest.approx(expected, abs=0.02)
    assert mean_difference(some, far) < 0.001
    assert mean_difference(some, others) == mean_difference(some, others)


def test_equal_means_are_no_difference():
    assert mean_difference([2.0, 2.0], [2.0, 2.0]) == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_the_correction_is_holms(chances):
    order = sorted(range(len(chances)), key=lambda place: chances[place])
    corrected = holm(chances)
    assert all(after >= before for before, after in zip(chances, corrected, strict=True))
    assert corrected[order[0]] == min(1.0, chances[order[0]] * len(chances))
    assert [corrected[place] for place in order] == sorted(corrected)
