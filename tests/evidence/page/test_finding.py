"""Finding something on a test's page: search, filters, links into it, keys."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.evidence.stories import failing_story, long_story

from .looking import assert_on_screen, focused, is_open, row, search, shown_steps


def test_search(show: Callable[..., Page]) -> None:
    page = show(failing_story())
    expect(page.locator("#steps .count")).to_have_text("12 of 15")
    search(page, "1 FAILED, 41", "1 of 15")  # in any case, across colours
    assert shown_steps(page) == [6]
    marks = row(page, 6).locator("mark")
    assert marks.all_text_contents() == ["1 failed", ", ", "41"]
    search(page, "/workspace", "4 of 15")  # a fact's value
    assert row(page, 6).locator("dd mark").all_text_contents() == ["/workspace"]
    search(page, "running", "0 of 15, 1 more filtered out")
    expect(page.get_by_text("No step is shown.")).to_be_visible()
    search(page, "a(b[", "0 of 15")
    page.keyboard.press("Escape")
    expect(page.locator("#steps .count")).to_have_text("12 of 15")
    assert page.locator("mark").count() == 0


def test_search_unfolds_what_it_has_found(show: Callable[..., Page]) -> None:
    story = failing_story()
    story.steps[0].parts[0].text = "\n".join(f"line {number}" for number in range(100))
    page = show(story)
    search(page, "line 50", "1 of 15")
    page.keyboard.press("Enter")
    assert is_open(page, 1)
    assert row(page, 1).locator("mark").all_text_contents() == ["line 50"]


@pytest.mark.parametrize(
    ("chip", "gone"),
    [("Messages", [1, 14]), ("Tools", [4, 9, 11]), ("LLM calls", [3, 5, 8, 10, 13]),
     ("Errors", [12])],
)  # fmt: skip
def test_each_filter_takes_its_kind_away(
    show: Callable[..., Page], chip: str, gone: list[int]
) -> None:
    page = show(failing_story())
    before = shown_steps(page)
    button = page.locator(".chip-row").get_by_role("button", name=chip)
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert [number for number in before if number not in shown_steps(page)] == gone
    button.click()
    assert shown_steps(page) == before


def test_filters_that_are_off_at_first_and_tools(show: Callable[..., Page]) -> None:
    page = show(failing_story())
    chips = page.locator(".chip-row")
    assert not {2, 7, 15} & set(shown_steps(page))
    chips.get_by_role("button", name="State").click()
    chips.get_by_role("button", name="Log").click()
    assert shown_steps(page) == list(range(1, 16))
    chips.get_by_role("button", name="Errors").click(modifiers=["Shift"])
    assert shown_steps(page) == [6, 12]
    chips.get_by_role("button", name="Tools").click()
    page.get_by_label("Tool", exact=True).select_option("file_editor")
    assert shown_steps(page) == [9]


def test_an_error_is_shown_whatever_its_kind(show: Callable[..., Page]) -> None:
    story = failing_story()
    story.steps[1].is_error = True
    assert 2 in shown_steps(show(story))


def test_expand_and_collapse_all(show: Callable[..., Page]) -> None:
    page = show(failing_story())
    page.get_by_role("button", name="Expand all").click()
    assert all(is_open(page, number) for number in shown_steps(page))
    expect(row(page, 6).locator(".step-body")).to_be_visible()
    page.get_by_role("button", name="Collapse all").click()
    expect(row(page, 6).locator(".step-body")).to_be_hidden()
    assert not any(is_open(page, number) for number in range(1, 16))


def test_deep_links(show: Callable[..., Page]) -> None:
    page = show(failing_story(), anchor="#step-15")  # of a kind that is filtered out
    assert 15 in shown_steps(page)
    assert is_open(page, 15)
    assert focused(page) == "step-15"
    assert_on_screen(row(page, 15))
    assert "lit" in (row(page, 15).get_attribute("class") or "")
    for anchor in ("#change-3", "#log-5", "#changes", "#step-3"):
        page.evaluate("hash => { location.hash = hash }", anchor)
        assert_on_screen(page.locator(anchor))
    assert is_open(page, 3)
    expect(page.locator("#change-3 .change-body")).to_be_visible()
    page.evaluate("location.hash = '#step-999'")  # of an older page


def test_a_deep_link_into_a_long_log(show: Callable[..., Page]) -> None:
    page = show(long_story(steps=40, log=300), anchor="#log-7")
    expect(page.locator("#log-7")).to_contain_text("log 7")
    assert_on_screen(page.locator("#log-7"))


def test_keys(show: Callable[..., Page]) -> None:
    page = show(failing_story())
    page.keyboard.press("j")
    assert focused(page) == "step-1"
    page.keyboard.press("j")
    assert focused(page) == "step-3"  # the second is filtered out
    page.keyboard.press("ArrowDown")
    assert focused(page) == "step-4"
    page.keyboard.press("k")
    page.keyboard.press("ArrowUp")
    assert focused(page) == "step-1"
    page.keyboard.press("Enter")
    assert is_open(page, 1)
    page.keyboard.press("Space")
    assert not is_open(page, 1)
    page.keyboard.press("e")
    assert focused(page) == "step-6"
    page.keyboard.press("e")
    assert focused(page) == "step-12"
    page.keyboard.press("/")
    page.keyboard.type("j?")
    expect(page.locator("#steps input")).to_have_value("j?")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


@pytest.mark.parametrize(
    "script",
    ["", "Object.defineProperty(navigator, 'clipboard', {value: undefined})"],
    ids=["clipboard", "no clipboard"],
)
def test_copying(show: Callable[..., Page], script: str) -> None:
    page = show(failing_story(), script=script)
    button = page.locator(".rerun button")
    button.click()
    expect(button).to_have_text("Copied")
    field = page.locator("#steps input")
    field.focus()
    page.keyboard.press("Control+V")
    expect(field).to_have_value(failing_story().rerun)


def test_where_nothing_can_be_copied_it_is_selected(show: Callable[..., Page]) -> None:
    script = "Object.defineProperty(navigator, 'clipboard', {value: undefined});"
    page = show(failing_story(), script=f"{script} Document.prototype.execCommand = () => false")
    page.locator(".rerun button").click()
    expect(page.locator(".rerun button")).to_have_text("Press Ctrl+C")
    assert page.evaluate("document.activeElement.value") == failing_story().rerun
