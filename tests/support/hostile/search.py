"""The search for input that does harm, by Hypothesis, from a seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

_T = TypeVar("_T")


def search(
    inputs: SearchStrategy[_T], check: Callable[[_T], None], *, seed: int, count: int
) -> None:
    """Try so many inputs; the first that a check fails on is made small, shown, and raised."""

    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        print_blob=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def each(given: _T) -> None:
        check(given)

    each()
