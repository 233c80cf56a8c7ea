"""What is said about LLM calls at the end of a run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_agent_sandbox.llm.calls import LLMCall
from pytest_agent_sandbox.llm.replies import Usage
from pytest_agent_sandbox.plugin.report.llm_usage import LLMUsage, attach, summary


def call(origin: Any, **fields: Any) -> LLMCall:
    return LLMCall(1, datetime.now(UTC), "/x", origin=origin, **{"status": 200} | fields)


TOKENS = {"usage": Usage(1000, 234)}


@pytest.mark.parametrize(
    ("calls", "text"),
    [
        (
            [call("replayed", cost=0.5, **TOKENS)],
            "1 LLM call replayed, 1,234 tokens, $0.5000 saved",
        ),
        ([call("live", cost=0.5), call("live", cost=1)], "2 LLM calls live, $1.5000"),
        ([call("live", cost=0.5), call("live", status=429)], "2 LLM calls live, $0.5000"),
        ([call("live", **TOKENS)], "1 LLM call live, 1,234 tokens, cost unknown"),
        (
            [call("live", cost=0.5), call("recorded"), call(None, problem="no")],
            "3 LLM calls (1 live, 1 recorded, 1 refused), $0.5000, cost of some unknown",
        ),
        ([call("unanswered", problem="x", status=502)], "1 LLM call unanswered"),
        (
            [call("scripted", cost=0.0), call("fault", problem="x")],
            "2 LLM calls (1 fault, 1 scripted)",
        ),
    ],
)
def test_a_usage_in_words(calls: list[LLMCall], text: str) -> None:
    usage = LLMUsage.of(calls)
    assert str(usage) == text
    assert str(LLMUsage.from_property(usage.to_property())) == text


def report(name: str, usage: LLMUsage, when: str = "teardown") -> SimpleNamespace:
    properties: list[tuple[str, object]] = []
    attach(usage, properties)
    return SimpleNamespace(nodeid=name, when=when, user_properties=properties)


def test_the_summary_names_tests_that_asked_a_provider_and_the_sum() -> None:
    live = LLMUsage.of([call("live", cost=0.5)])
    scripted = LLMUsage.of([call("scripted", cost=0.0)])
    noted = LLMUsage.of([call("replayed", cost=0.25)])
    noted.notes = ["something drifted"]
    reports = [
        report("a", live),
        report("a", live, when="call"),
        report("b", scripted),
        report("c", noted),
        SimpleNamespace(),
    ]
    assert summary(reports, verbosity=0) == [
        "a: 1 LLM call live, $0.5000",
        "c: 1 LLM call replayed, $0.2500 saved",
        "c: something drifted",
        "this run: 3 LLM calls (1 live, 1 replayed, 1 scripted), $0.5000, $0.2500 saved",
    ]
    assert "b: 1 LLM call scripted" in summary(reports, verbosity=2)


def test_only_the_dearest_are_shown_one_by_one() -> None:
    reports = [report(str(n), LLMUsage.of([call("live", cost=n)])) for n in range(1, 31)]
    lines = summary(reports, verbosity=0)
    assert lines[0].startswith("11: ")
    assert lines[20] == "… and 10 more tests, with -vv"
    assert len(lines) == 22


def recorded(name: str, *cassettes: str) -> SimpleNamespace:
    usage = LLMUsage.of([call("recorded", cost=0.5)])
    usage.cassettes = list(cassettes)
    return report(name, usage)


def test_it_is_said_which_cassettes_to_commit() -> None:
    one = recorded("a", "cassettes/test_it/a.json")
    written = "1 cassette written, to be committed: cassettes/test_it/a.json"
    assert summary([one], verbosity=0)[-1] == written
    reports = [recorded("b", "cassettes/test_b/b.json"), one]
    lines = summary(reports, verbosity=0)
    assert lines[-1] == "2 cassettes written, to be committed: in cassettes (-v names them)"
    assert summary(reports, verbosity=1)[-3:] == [
        "2 cassettes written, to be committed: in cassettes",
        "  cassettes/test_b/b.json",
        "  cassettes/test_it/a.json",
    ]
    reports = [one, recorded("c", str(Path("c.json").absolute()))]
    assert (
        "2 cassettes written, to be committed: in several folders"
        in summary(reports, verbosity=0)[-1]
    )
    assert "in . (-v" in summary([recorded("d", "d.json"), one], verbosity=0)[-1]


def test_a_cassette_that_two_attempts_wrote_is_one() -> None:
    properties: list[tuple[str, object]] = []
    for _ in range(2):
        usage = LLMUsage.of([call("recorded")])
        usage.cassettes = ["a.json"]
        attach(usage, properties)
    reports = [SimpleNamespace(nodeid="a", when="teardown", user_properties=properties)]
    assert summary(reports, verbosity=0)[-1] == "1 cassette written, to be committed: a.json"


def test_nothing_is_said_where_no_llm_was_asked() -> None:
    assert summary([report("a", LLMUsage())], verbosity=2) == []


def test_attempts_at_a_test_add_up() -> None:
    properties: list[tuple[str, object]] = [("other", 1)]
    for number in (1, 2):
        usage = LLMUsage.of([call("live", cost=0.5)])
        usage.notes = [f"attempt {number}"]
        attach(usage, properties)
    reports = [SimpleNamespace(nodeid="a", when="teardown", user_properties=properties)]
    assert summary(reports, verbosity=0) == [
        "a: 2 LLM calls live, $1.0000",
        "a: attempt 1",
        "a: attempt 2",
        "this run: 2 LLM calls live, $1.0000",
    ]
