"""How pages look, wide and narrow, in a real Chromium."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from pytest_agent_sandbox.evidence.story import Group, Row, RunStory, TestStory
from tests.evidence.stories import STARTED, failing_story, run_story

from .looking import row

MISS = (
    "CassetteMiss: The agent's LLM call 1 in conversation 1 is not in cassettes/test_prompts/"
    "test_that_the_prompt_did_not_change.json. The nearest is recording 1, which differs in: "
    "message 2 (user), content 1, text:"
)


def box(target: Locator) -> dict[str, float]:
    found = target.bounding_box()
    assert found is not None
    return {**found, "right": found["x"] + found["width"]}


@pytest.mark.parametrize("story", [failing_story(), run_story()], ids=["test", "run"])
def test_cards_use_the_width(show: Callable[..., Page], story: TestStory | RunStory) -> None:
    page = show(story)
    whole = box(page.locator(".tiles"))
    cards = [box(card) for card in page.locator(".tiles > div").all()]
    assert len(cards) > 3
    assert {card["y"] for card in cards} == {cards[0]["y"]}
    assert cards[0]["x"] == pytest.approx(whole["x"])
    assert cards[-1]["right"] == pytest.approx(whole["right"], abs=1)
    assert whole["width"] > 1000


def test_the_headline_of_a_miss_is_one_line(show: Callable[..., Page]) -> None:
    story = failing_story()
    story.headline = MISS
    page = show(story)
    head = page.locator("h1")
    expect(head).to_have_text(MISS.partition(" The nearest")[0])
    expect(head).to_have_attribute("title", MISS)
    line = float(head.evaluate("node => parseFloat(getComputedStyle(node).lineHeight)"))
    assert box(head)["height"] == pytest.approx(line, abs=1)
    expect(page.locator(".headline-rest")).to_contain_text("The nearest is recording 1")


def test_a_headline_of_one_sentence_has_nothing_below(show: Callable[..., Page]) -> None:
    story = failing_story()
    story.headline = "AssertionError: v1.2. and a.txt differ"
    page = show(story)
    expect(page.locator("h1")).to_have_text(story.headline)
    expect(page.locator(".headline-rest")).to_have_count(0)


def test_the_summary_of_a_step_has_its_row_to_itself(show: Callable[..., Page]) -> None:
    page = show(failing_story(), width=390)
    head = row(page, 6).locator(".step-head")
    summary, duration = head.locator(".summary"), head.locator(".duration")
    assert box(summary)["y"] >= box(duration)["y"] + box(duration)["height"]
    assert box(head)["right"] - box(summary)["right"] <= 13
    title, anchor = head.locator(".title"), row(page, 6).locator(".anchor")
    assert box(title)["right"] <= box(duration)["x"]
    assert box(head.locator(".time"))["right"] - 40 <= box(anchor)["x"]


def test_the_navigation_shows_that_it_scrolls(show: Callable[..., Page]) -> None:
    page = show(failing_story(), width=390)
    line = page.locator(".page-nav")
    sign = "[at => getComputedStyle(document.querySelector('.page-nav'), at).content][0]"
    assert page.evaluate(sign, "::after") == '"\u203a"'
    assert page.evaluate(sign, "::before") == "none"
    line.evaluate("node => node.scrollTo(1e6, 0)")
    expect(page.locator(".page-nav.more-before")).to_be_attached()
    assert page.evaluate(sign, "::before") == '"\u2039"'
    assert page.evaluate(sign, "::after") == "none"
    wide = show(failing_story())
    assert wide.locator(".more-before, .more-after").count() == 0


def test_the_index_is_called_by_its_project_and_its_run(show: Callable[..., Page]) -> None:
    page = show(run_story())
    expect(page.locator("h1")).to_contain_text("Agent tests")
    expect(page.locator("h1 time")).to_have_attribute("datetime", "2026-01-01T10:00:00.000Z")
    assert page.title().startswith("3 failed of 12: Agent tests, run of 2026-01-01 ")
    links = page.eval_on_selector_all(
        ".page-header a", "all => all.map(a => a.getAttribute('href'))"
    )
    assert links == ["results.jsonl"]


def test_the_index_of_trials_leads_to_their_data_too(show: Callable[..., Page]) -> None:
    page = show(
        RunStory(title="x", started=STARTED, rows=[Row(test="a")], groups=[Group(test="a")])
    )
    links = page.eval_on_selector_all(
        ".page-header a", "all => all.map(a => a.getAttribute('href'))"
    )
    assert links == ["results.jsonl", "trials.jsonl"]


def test_what_costs_nothing_shows_no_cost(show: Callable[..., Page]) -> None:
    free, paid = Row(test="a", cost=0.0), Row(test="b", cost=0.0013)
    page = show(RunStory(title="x", started=STARTED, rows=[free, paid]))
    expect(page.locator("td.cost")).to_have_text(["", "$0.0013"])
    expect(page.locator(".tiles")).to_contain_text("$0.0013")
    page = show(RunStory(title="x", started=STARTED, rows=[free]))
    assert page.locator("td.cost").count() == 0
    expect(page.locator("#page")).not_to_contain_text("$0.00")


def test_changes_are_told_in_words(show: Callable[..., Page]) -> None:
    page = show(failing_story())
    expect(page.locator("#changes .status")).to_have_text(["deleted", "modified", "added"])


def test_the_summary_is_under_the_badge(show: Callable[..., Page]) -> None:
    story = failing_story()
    story.summary = "Failed after 41.7 s, after the agent had finished: 15 agent steps."
    page = show(story)
    summary = page.locator(".outcome")
    expect(summary).to_have_text(story.summary)
    assert box(summary)["y"] > box(page.locator(".badges"))["y"]
