"""The run's page in a real Chromium, opened from a file as a person does."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.evidence.stories import TEST, hostile_story, run_story

from .looking import WIDTHS, scrolls_sideways


def shown_tests(page: Page) -> list[str]:
    script = (
        "all => all.filter(row => !row.hidden).map(r => r.querySelector('.test-name').textContent)"
    )
    return list(page.eval_on_selector_all("tbody tr", script))


def test_index(show: Callable[..., Page]) -> None:
    page = show(run_story())
    header = page.locator(".page-header")
    assert header.locator("dd").all_text_contents()[:4] == ["3", "1", "1", "7"]
    assert shown_tests(page)[0] == TEST  # failed first
    first = page.locator("tbody tr").first
    expect(first).to_contain_text("AssertionError: LICENSE is gone")
    expect(first).to_contain_text("an assertion did not hold")
    assert first.locator("a").get_attribute("href") == "cleanup-1/transcript.html"
    assert page.locator("tbody a").count() == 4
    page.get_by_role("button", name="Tokens").click()
    assert page.locator("th.tokens").get_attribute("aria-sort") == "descending"
    assert "test_stays_cheap" in shown_tests(page)[0]
    page.get_by_role("button", name="Duration").click()
    page.get_by_role("button", name="Duration").click()
    assert page.locator("th.duration").get_attribute("aria-sort") == "ascending"
    assert page.locator("th[aria-sort]").count() == 1
    assert "test_large_file" in shown_tests(page)[0]
    page.get_by_role("button", name="Tokens").click()
    page.get_by_role("button", name="Tokens").click()
    assert "test_later" in shown_tests(page)[0]
    for _ in range(2):  # those without a value come last, either way
        page.get_by_role("button", name="Cost").click()
        last = " ".join(shown_tests(page)[-2:])
        assert "test_later" in last
        assert "test_hangs" in last
    page.locator(".chip.failed").click()
    assert len(shown_tests(page)) == 3
    page.keyboard.press("/")
    page.keyboard.type("BUDGET")
    expect(page.locator(".count")).to_have_text("1 of 12")
    page.keyboard.press("Escape")
    expect(page.locator(".count")).to_have_text("3 of 12")


def test_an_attempt_that_was_tried_again_does_not_count(show: Callable[..., Page]) -> None:
    story = run_story()
    story.rows[1].attempt, story.rows[1].superseded = 1, True
    page = show(story)
    assert page.locator(".page-header dd").all_text_contents()[:3] == ["2", "1", "1"]
    assert page.title().startswith("2 failed of 11: Agent tests, ")
    retried = page.locator("tr.retried")
    expect(retried).to_contain_text("Tried again")
    expect(retried.locator("td.attempt")).to_have_text("1")
    page.locator(".chip.failed").click()
    assert len(shown_tests(page)) == 2


def test_index_of_two_thousand_tests(show: Callable[..., Page]) -> None:
    page = show(run_story(2000))
    assert page.evaluate("performance.now()") < 5000
    expect(page.locator(".count")).to_have_text("2,000 of 2,000")
    page.locator("input").fill("test_fact[1234]")
    expect(page.locator(".count")).to_have_text("1 of 2,000")
    page.locator("th.test button").click()
    assert shown_tests(page) == ["tests/agents/test_facts.py::test_fact[1234]"]


def test_hostile_index(show: Callable[..., Page]) -> None:
    story = run_story()
    evil = hostile_story(long_line=100_000)
    for row_of_table, page_name in zip(story.rows, [f.name for f in evil.files], strict=False):
        row_of_table.test = evil.test
        row_of_table.headline = evil.steps[3].summary
        row_of_table.worker = evil.test
        row_of_table.page = page_name
        row_of_table.duration = float("nan")
    page = show(story)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert not scrolls_sideways(page), width
    assert page.evaluate("window.hacked") is None
    links = page.eval_on_selector_all("a", "all => all.map(a => a.getAttribute('href'))")
    assert not [link for link in links if ":" in link or link.startswith("/")]
