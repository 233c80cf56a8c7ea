"""A request is found where it means the same; a miss names what is different, and nothing else."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_agent_sandbox.llm.cassettes.canonical import CanonicalRequest, canonical
from pytest_agent_sandbox.llm.cassettes.differences import describe_difference
from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser

NORMALISE = Normaliser()

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, 2, 0.0, 1.0, 2.5, -0.0, 1e20, 10**20]),
    st.sampled_from(["", "a", "a b", "a  b", "1", "true", "null", "x" * 500, "x" * 500 + "y"]),
)
names = st.sampled_from(["role", "content", "name", "strict", "stop", "input"])
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
bodies = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": st.lists(values, max_size=3)},
    optional={
        "temperature": leaves,
        "stop": values,
        "tools": st.lists(values, max_size=3),
        "input": values,
    },
)


def request(body: Any, method: str = "POST", path: str = "/chat/completions") -> CanonicalRequest:
    return canonical("openai-chat", method, path, body, NORMALISE)


def meaning(value: Any, *, has_nulls: bool) -> Any:
    """What is compared, worked out in another way: numbers by value, nulls where they count."""
    match value:
        case bool() | None:
            return repr(value)
        case int() | float():
            return ("number", value + 0)
        case str():
            return ("text", value)
        case list():
            return [meaning(item, has_nulls=has_nulls) for item in value]
    return {
        name: meaning(item, has_nulls=has_nulls)
        for name, item in value.items()
        if has_nulls or item is not None
    }


def meaning_of_body(body: Any) -> Any:
    """In the request itself and in messages, a field that is null is as good as none."""
    fields = {
        name: meaning(value, has_nulls=name not in ("messages", "input"))
        for name, value in body.items()
        if value is not None
    }
    if fields.get("tools"):
        fields["tools"] = sorted(fields["tools"], key=repr_sorted)
    return fields


def repr_sorted(value: Any) -> str:
    if isinstance(value, dict):
        return repr(sorted((name, repr_sorted(item)) for name, item in value.items()))
    if isinstance(value, list):
        return repr([repr_sorted(item) for item in value])
    if isinstance(value, tuple) and value[0] == "number":
        return repr(("number", float(value[1])))
    return repr(value)


@given(bodies, bodies)
def test_equal_requests_are_found_and_a_miss_names_a_difference(one: Any, other: Any) -> None:
    told = describe_difference(request(one), request(other))
    is_equal = meaning_of_body(one) == meaning_of_body(other)
    assert (request(one).key == request(other).key) is is_equal
    assert (told == "") is is_equal
    different = {
        name
        for name in {*one, *other}
        if meaning_of_body({name: one.get(name)}) != meaning_of_body({name: other.get(name)})
    }
    titles = {"message": "messages", "tool": "tools"}
    # "input item 2: …", "temperature:", "message 1 (user), content: …"; the rest is indented more
    said = {re.split(r"[ ,:]", line[2:])[0] for line in told.split("\n") if re.match(r"  \w", line)}
    assert {titles.get(name, name) for name in said} <= different
    assert bool(said) is bool(different)


@given(bodies, st.data())
def test_one_change_is_named_by_its_place_and_both_values(body: Any, data: st.DataObject) -> None:
    """Of a text that is changed, the words before and after are shown."""
    position = data.draw(st.integers(0, len(body["messages"])))
    before, now = data.draw(
        st.lists(st.sampled_from(["one", "two", "three"]), min_size=2, max_size=2, unique=True)
    )
    one, other = copy.deepcopy(body), copy.deepcopy(body)
    one["messages"].insert(position, {"role": "user", "content": f"say {before}"})
    other["messages"].insert(position, {"role": "user", "content": f"say {now}"})
    assert describe_difference(request(one), request(other)) == (
        f"  message {position + 1} (user), content:\n    - say [-{before}-]\n    + say [+{now}+]"
    )


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ({"n": 1}, {"n": True}, ["[-1-]", "[+true+]"]),
        ({"n": "1"}, {"n": 1}, ['[-"-]', "n:"]),
        ({"n": [None]}, {"n": []}, ["n 1: recorded, and not asked for", "null"]),
        ({"n": [float("nan"), 1]}, {"n": [float("nan"), 2]}, ["n 2:", "[-1-]"]),
        ({"n": "a b"}, {"n": "a  b"}, ["n: only the white space is different"]),
        ({}, {"n": False}, ["n: new", "false"]),
    ],
)
def test_what_looks_alike_is_told_apart(one: Any, other: Any, words: list[str]) -> None:
    told = describe_difference(request(one), request(other))
    assert [word for word in words if word not in told] == []


def test_another_method_is_a_difference() -> None:
    told = describe_difference(request({}, "POST", "/files"), request({}, "DELETE", "/files"))
    assert told == "  the address:\n    - openai-chat /files\n    + openai-chat DELETE /files"


def test_one_more_tool_is_named_wherever_it_stands() -> None:
    def tools(*names: str) -> CanonicalRequest:
        return request({"tools": [{"function": {"name": name}} for name in names]})

    told = describe_difference(tools("b", "c"), tools("a", "b", "c"))
    assert re.findall(r"tool \d+ \((\w)\): new", told) == ["a"]
    assert told.count("\n") == 1
    assert json.dumps({"function": {"name": "a"}}) in told
