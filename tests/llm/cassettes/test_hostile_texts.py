"""Texts made to be slow: looking through them takes time that grows as they do, no faster."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_agent_sandbox.llm.cassettes import canonical as canonical_module
from pytest_agent_sandbox.llm.cassettes import normalising
from pytest_agent_sandbox.llm.cassettes.canonical import canonical
from pytest_agent_sandbox.llm.cassettes.differences import describe_difference
from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser

#: What may come again and again: beginnings of what the patterns look for, without the ends.
BEGINNINGS = [
    *("1", "12 ", "1.", "1m", "1/", "01/02/", "2026-", "2026-11-24T", "10:10:10.", "10:10 "),
    *("May", "May ", "May 1 ", "Nov 24, ", "24 November ", "Tue, ", "Today is ", "<date> "),
    *(
        "a",
        "ab1",
        "deadbeef-",
        "deadbeef-dead-",
        "0x1",
        "01GH",
        "in 1",
        "in 1.",
        "took 1",
        "ran in 1",
    ),
    *("/tmp/", "/tmp/tmp", "/tmp/pytest-of-", "localhost:", "browser_screenshot_a", "; cch=a"),
    *(
        "[main ",
        "[a/",
        "[a (root-commit) ",
        "commit a",
        "\ncommit ",
        "\nMerge: abcdef1 ",
        " abcdef1",
    ),
    *("\nHEAD is now at a", "\nUpdating abcdef1..", "\n   abcdef1..", " ", "\n", "<", "Z", ", "),
]
_PATTERNS = normalising._PATTERNS | normalising._LATER_PATTERNS
#: What a pattern may have to be within for all its ends to be tried.
_AFTER = ["", "in ", "took ", "May", "/tmp/pytest-of-", "[", "[main ", "\nMerge: ", "1"]


def seconds(search: Callable[[str], object], text: str) -> float:
    took = []
    for _ in range(2):
        began = time.process_time()
        search(text)
        took.append(time.process_time() - began)
    return min(took)


@pytest.mark.parametrize("name", _PATTERNS)
def test_no_pattern_takes_time_that_grows_faster_than_the_text(name: str) -> None:
    pattern = re.compile(_PATTERNS[name])
    for after in _AFTER:
        for beginning in BEGINNINGS:
            text = after + beginning * (1_000 // len(beginning))
            once = seconds(lambda text: pattern.sub("", text), text)
            long = after + beginning * (16_000 // len(beginning))
            took = seconds(lambda text: pattern.sub("", text), long)
            # 16 times as long; a quadratic one would take 256 times.
            assert took < max(0.02, 80 * once), (after, beginning, once, took)


_texts = st.lists(
    st.sampled_from(
        [
            *(
                "2026-11-24",
                " 13:30:22",
                "Tue Nov 24 13:30:22 UTC 2026",
                "3f2a9c41-7d05-4e1b-9c3a-",
            ),
            *("0123456789ab", "took 12 ms", "0m0.123s", "/tmp/pytest-of-me/pytest-12", "in 0.12s"),
            *(
                "\ncommit " + "0a" * 20,
                "\n[main 1a2b3c4]",
                "host-1",
                " ",
                "\n",
                "x",
                "1",
                ", 3:30 PM",
            ),
            *("localhost:45123", "Today is Monday", "30.11.2026"),
        ]
    ),
    max_size=30,
).map("".join)


@given(_texts, st.integers(1, 40))
def test_texts_are_searched_in_steps_and_nobody_sees_it(text: str, step: int) -> None:
    known = {"host-1": "host"}
    at_once = Normaliser(known=known)(text)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(normalising, "_STEP", step)
        assert Normaliser(known=known)(text) == at_once


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalising, "_REMEMBERED", 1000)
    normalise = Normaliser()
    for number in range(100):
        assert normalise(f"{number} 2026-11-24".ljust(300)) == f"{number} <date>".ljust(297 - 1)
        assert sum(map(len, normalise._cache)) <= 1000
    normalise("x" * 2000)
    assert sum(map(len, normalise._cache)) <= 1000


def test_it_is_known_how_much_of_a_request_is_new() -> None:
    normalise = Normaliser()
    body = {"messages": [{"content": "Hello?"}, {"content": [{"text": "Hi"}], "n": 1}]}
    assert normalise.new_in(body) == 8
    canonical("d", "POST", "/p", body, normalise)
    assert normalise.new_in(body) == 0
    assert normalise.new_in({**body, "input": "more"}) == 4


def test_a_text_of_megabytes_stays_as_it_is_but_for_secrets() -> None:
    normalise = Normaliser(lambda text: text.replace("secret", "***"), patterns=["volatile"])
    text = "2026-11-24 volatile secret "
    assert normalise(text) == "<date> <volatile> *** "
    assert normalise(text + "x" * (1 << 20)) == "2026-11-24 volatile *** " + "x" * (1 << 20)


def test_so_much_of_a_request_is_normalised_and_the_rest_has_no_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(canonical_module, "_MOST_NORMALISED", 100)
    normalise = Normaliser(lambda text: text.replace("secret", "***"))
    body = {"input": ["2026-11-24 secret"] * 20}
    texts = canonical("openai-responses", "POST", "/responses", body, normalise).body["input"]
    assert texts[0] == "<date> ***"
    assert texts[-1] == "2026-11-24 ***"


def _few_words(number: int) -> str:
    return " ".join(f"w{i * i % number}" for i in range(9_000))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # Few different words, so that each is found in hundreds of places
        (_few_words(113), _few_words(119)),
        ("old" + " a" * 2_000_000, "new" + " b" * 2_000_000),
        ("x" * 3_000_000 + " old", "x" * 3_000_000 + " new"),
        (" " * 3_000_000 + "old", " " * 3_000_000 + "new"),
    ],
    ids=["few words", "many words", "long word", "white space"],
)
def test_what_is_different_in_megabytes_is_told_at_once(old: str, new: str) -> None:
    requests = [canonical("d", "POST", "/p", {"input": text}, Normaliser()) for text in (old, new)]
    began = time.process_time()
    told = describe_difference(*requests)
    assert time.process_time() - began < 2
    assert len(told) < 2_000
    assert "only the white space" not in told
    assert "    - " in told
    assert "    + " in told
