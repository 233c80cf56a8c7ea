"""Values, and what is expected of them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.expectations.matching import (
    differences,
    likeness,
    matches,
    spelled,
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(values)
def test_each_value_is_as_expected_of_itself(value):
    assert matches(value, value)
    assert matches(..., value)
    assert list(differences({"it": value}, {"it": value})) == []
    assert likeness({"it": value}, {"it": value}) == 1.0


@given(values, values)
def test_what_is_other_is_told(expected, actual):
    told = list(differences({"it": expected}, {"it": actual}))
    assert bool(told) != matches(expected, actual)
    assert all(len(line) < 250 for line in told)


@pytest.mark.parametrize(
    ("expected", "actual", "fits"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1, "b": 2}, {"a": 1}, False),
        ({"a": {"b": re.compile("x")}}, {"a": {"b": "wxyz", "c": 1}}, True),
        ([1, ...], [1, 2], True),
        ([1], [1, 2], False),
        ("ab", ["a", "b"], False),
        (["a", "b"], "ab", False),
        (re.compile("^5"), 52, True),
        (lambda value: value > 3, 5, True),
        (lambda value: value > 3, 2, False),
        # What an agent left out, servers fill in.
        (re.compile("o"), None, False),
        (re.compile(r"\w"), None, False),
        (lambda text: "x" in text, None, False),
        (lambda text: text.startswith("x"), None, False),
        (lambda value: value is None, None, True),
        (None, None, True),
    ],
)
def test_ways_to_expect(expected, actual, fits):
    assert matches(expected, actual) is fits


def test_what_a_function_raises_for_a_value_is_its_own():
    with pytest.raises(TypeError):
        matches(lambda text: "x" in text, 5)


def test_a_regular_expression_of_bytes_is_refused():
    with pytest.raises(SettingsError, match=r"re\.compile\(b'x'\) is for bytes"):
        matches(re.compile(b"x"), "x")


def test_nothing_is_asked_about_what_is_not_there():
    assert likeness({"text": lambda text: "x" in text}, {}) == 0.0
    assert likeness({"a": "x", "b": 1}, {"a": "x"}) == 0.5


def test_white_space_is_a_difference_that_can_be_seen():
    expected, was = differences({"text": "def f():\n    x"}, {"text": "def f():\n        x"})
    assert expected == r"text: expected 'def f():\n    x'"
    assert was.endswith(r"was 'def f():\n        x'")


def test_values_for_people():
    assert spelled(re.compile("a+")) == "/a+/"
    assert spelled(str.isdigit) == "what isdigit accepts"
    assert spelled("a\nb") == r"'a\nb'"
    assert len(spelled("x" * 1000)) < 150
