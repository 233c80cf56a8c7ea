"""A test's page in a real Chromium, opened from a file as a person does."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from pytest_agent_sandbox.evidence.story import RunStory, TestStory
from tests.evidence.stories import TEST, failing_story, hostile_story, long_story, run_story

from .looking import WIDTHS, assert_on_screen, is_open, row, scrolls_sideways, search, shown_steps


def test_the_first_look_tells_what_went_wrong(show: Callable[..., Page]) -> None:
    page = show(failing_story())
    header = page.locator(".page-header")
    expect(header.locator("h1")).to_have_text("AssertionError: LICENSE is gone")
    for words in (
        "Failed",
        "Fault: an assertion did not hold",
        "Attempt 2",
        TEST,
        "41.7 s",
        "42,561",
    ):
        expect(header).to_contain_text(words)
    first, second = header.locator(".callout").all()
    expect(first).to_have_text(f"{failing_story().hints[0].text} step 6")
    expect(second).to_have_text(failing_story().hints[1].text)
    expect(header.locator(".code")).to_have_text(failing_story().code)
    expect(header.locator(".facts")).to_contain_text("The tests pass, and the project is tidy.")
    first.get_by_role("link").click()
    expect(row(page, 6)).to_be_in_viewport()
    assert is_open(page, 6)
    expect(header.locator("time")).to_have_attribute("datetime", "2026-01-01T10:00:00.000Z")
    expect(page.locator("#failure")).to_contain_text("E       AssertionError: LICENSE is gone")
    assert page.title() == f"Failed: {TEST}"
    assert page.get_by_role("link", name="All tests").get_attribute("href") == "../index.html"
    expect(page.locator(".page-footer")).to_contain_text("3 secret values were masked.")
    expect(page.locator(".page-footer")).to_contain_text("llm-calls.jsonl holds them")
    links = page.eval_on_selector_all(".files a", "all => all.map(a => a.getAttribute('href'))")
    assert "sandbox-1/container.log" in links
    assert [number for number in shown_steps(page) if is_open(page, number)] == [6, 11, 12, 14]


def test_masked_secrets_in_words(show: Callable[..., Page]) -> None:
    for masked, words in ((None, "not counted"), (0, "No known secret"), (1, "1 secret value was")):
        page = show(TestStory(test="x", masked=masked))
        expect(page.locator(".page-footer")).to_contain_text(words)


def test_a_story_of_nothing_is_a_page_too(show: Callable[..., Page]) -> None:
    page = show(TestStory(test="tests/test_x.py::test_x"))
    expect(page.locator(".page-header")).to_contain_text("Unfinished")
    expect(page.locator("h1")).to_have_text("tests/test_x.py::test_x")
    assert page.locator("section").count() == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(show: Callable[..., Page], width: int) -> None:
    page = show(failing_story(), width=width)
    page.get_by_role("button", name="Expand all").click()
    assert not scrolls_sideways(page)
    page = show(run_story(), width=width)
    assert not scrolls_sideways(page)


def test_bodies_show_each_format(show: Callable[..., Page]) -> None:
    page = show(failing_story())
    result = row(page, 6).locator(".text-box.terminal")
    expect(result.locator(".ansi-ink-1.ansi-bold").first).to_have_text("FAILED")
    expect(result.locator(".line").nth(2)).to_have_text("collected 44 items")
    assert result.locator(".ansi-ink").first.evaluate("n => n.style.getPropertyValue('--ink')")
    expect(row(page, 6)).to_contain_text("10,000 characters are left out; events.jsonl holds more")
    row(page, 3).locator(".step-head").click()
    json = row(page, 3).locator(".text-box.json")
    expect(json.locator(".line").nth(1)).to_have_text('  "role": "assistant",')
    expect(json).to_contain_text('"cost": 0.000000000000000000123')
    row(page, 9).locator(".step-head").click()
    expect(row(page, 9).locator(".diff-added").first).to_contain_text('+    """The sum')
    removed = page.locator("#change-1 .diff-removed")
    expect(removed).to_have_count(7)  # the one that reads `---` too
    expect(removed.last).to_contain_text("--- in the Software")
    expect(page.locator("#change-2")).to_contain_text("42 characters are left out")


def test_long_texts_are_folded(show: Callable[..., Page]) -> None:
    page = show(failing_story())
    box = row(page, 12).locator(".text-box")
    expect(box.locator(".line")).to_have_count(20)
    box.get_by_role("button", name="Show all 30 lines").click()
    expect(box.locator(".line")).to_have_count(30)
    box.get_by_role("button", name="Show less").click()
    expect(box.locator(".line")).to_have_count(20)


def test_changes_are_folded(show: Callable[..., Page]) -> None:
    story = failing_story()
    story.changes_note = "Only the first folder was looked at."
    story.changes.append(story.changes[0])
    page = show(story)
    expect(page.locator("#changes .callout")).to_have_text(story.changes_note)
    expect(page.locator("#change-1")).to_contain_text("deleted: LICENSE+0\u22127")
    expect(page.locator("#change-1 .change-body")).to_be_visible()
    page.locator("#change-1 .change-head").click()
    expect(page.locator("#change-1 .change-body")).to_be_hidden()
    assert page.locator("#change-4 .change-body").count() == 0
    page.locator("#change-4 .change-head").click()
    expect(page.locator("#change-4 .change-body")).to_contain_text("-MIT License")


def test_light_and_dark(show: Callable[..., Page]) -> None:
    page = show(failing_story())
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Use dark colours").click()
    dark = page.evaluate(ground)
    assert dark != light
    page.get_by_role("button", name="Use light colours").click()
    assert page.evaluate(ground) == light
    page.emulate_media(color_scheme="dark")
    page.reload()
    assert page.evaluate(ground) == dark
    expect(page.get_by_role("button", name="Use light colours")).to_be_visible()


CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const bytes = (colour, under) => {
    canvas.fillStyle = under; canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => rgb.map((b) => b / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const groundOf = (node) => {
    const chain = [];
    for (let at = node; at; at = at.parentElement) chain.unshift(at);
    return chain
      .map((one) => getComputedStyle(one).backgroundColor)
      .reduce((under, colour) => `rgb(${bytes(colour, under).join(" ")})`, "white");
  };
  const low = [];
  const walker = document.createTreeWalker(document.getElementById("page"), NodeFilter.SHOW_TEXT);
  const seen = new Set();
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility()) continue;
    const ground = groundOf(node);
    const opacity = Number(getComputedStyle(node).opacity);
    const ink = getComputedStyle(node).color;
    if (seen.has(ink + ground + opacity)) continue;
    seen.add(ink + ground + opacity);
    const [a, b] = [light(bytes(ink, ground)), light(bytes(ground, "white"))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5 || opacity < 1) {
      low.push(`${ratio.toFixed(2)} ${node.className} ${node.textContent.slice(0, 40)}`);
    }
  }
  return [low, seen.size];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("story", [failing_story(), run_story()], ids=["test", "run"])
def test_all_words_can_be_read(
    show: Callable[..., Page], scheme: str, story: TestStory | RunStory
) -> None:
    page = show(story)
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    if isinstance(story, TestStory):
        page.get_by_role("button", name="Expand all").click()
    low, pairs = page.evaluate(CONTRAST)
    assert low == []
    assert pairs > 8


def test_timeline(show: Callable[..., Page]) -> None:
    page = show(failing_story())
    section = page.locator("#timeline")
    legend = section.locator(".legend li")
    assert legend.all_text_contents() == [
        "LLM 19.6 s 53 %",
        "Tools 7.45 s 20 %",
        "Idle 10.0 s 27 %",
    ]
    bars = section.locator(".bar.llm")
    expect(bars).to_have_count(5)
    left, right = bars.nth(0).bounding_box(), bars.nth(4).bounding_box()
    assert left is not None
    assert right is not None
    assert left["width"] / right["width"] == pytest.approx(4.1 / 3.8, rel=0.02)
    expect(section.locator(".mark.error")).to_have_count(2)
    expect(section.locator(".mark.log")).to_have_count(1)
    bars.nth(2).click()
    assert is_open(page, 8)
    assert_on_screen(row(page, 8))
    bars.first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.title") == "LLM call 2, 3.20 s from 0:07.00"


def test_log(show: Callable[..., Page]) -> None:
    page = show(failing_story())
    lines = page.locator(".log-line")
    expect(lines).to_have_count(7)
    page.get_by_label("Level").select_option("Warnings and errors")
    expect(lines).to_have_count(2)
    page.get_by_label("Search the log").fill("keyerror")
    expect(lines).to_have_count(1)
    expect(lines.locator("mark")).to_have_text("KeyError")
    lines.locator("a.time").click()
    assert is_open(page, 12)  # 0:27.00 on both clocks
    assert_on_screen(row(page, 12))


def test_hostile_story(show: Callable[..., Page]) -> None:
    started = time.monotonic()
    page = show(hostile_story())
    page.get_by_role("button", name="Expand all").click()
    for button in page.locator(".change-head").all():
        if button.get_attribute("aria-expanded") == "false":
            button.click()
    unfold = page.locator(".fold", has_text="Show all")
    while unfold.count():
        unfold.first.click()
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert not scrolls_sideways(page), width
    assert page.evaluate("window.hacked") is None
    assert page.locator("img, iframe, object, embed, link, #page script").count() == 0
    links = page.eval_on_selector_all("a", "all => all.map(a => a.getAttribute('href'))")
    assert [link for link in links if link[0] != "#"] == [
        "a%20folder/50%25.txt",
        "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E.txt",
    ]
    length = "all => Math.max(...all.map(box => box.textContent.length))"
    assert 90_000 < page.eval_on_selector_all("#step-4 .text-box", length) < 110_000
    assert page.eval_on_selector_all(".text-box", length) < 250_000
    assert page.evaluate("document.querySelectorAll('.line').length") < 30_000
    assert time.monotonic() - started < 30


def test_text_from_right_to_left_does_no_harm(show: Callable[..., Page]) -> None:
    page = show(hostile_story(long_line=1000))
    shown = page.locator("#page").inner_text()
    hidden = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\x00\x07\x1b\x9b\u2028"
    assert not set(shown) & {*hidden, "\U000e0041"}
    for name in ("⟨U+202E⟩", "⟨U+2066⟩", "⟨U+D800⟩", "⟨U+E0041⟩", "⟨U+009B⟩", "␛", "␇"):
        assert name in shown
    head = row(page, 1).locator(".step-head")
    time_box, title = head.locator(".time").bounding_box(), head.locator(".title").bounding_box()
    assert time_box is not None
    assert title is not None
    assert time_box["x"] < title["x"]
    line = page.locator(".step .line").first
    assert line.evaluate("n => getComputedStyle(n).unicodeBidi") == "plaintext"


STALLS = """() => new Promise((resolve) => {
  const stalls = [];
  let last = performance.now();
  const step = () => {
    const now = performance.now();
    stalls.push(now - last);
    last = now;
    const end = document.documentElement.scrollHeight - innerHeight;
    const isDone = scrollY >= end - 2 || stalls.length > 150;
    if (isDone) return resolve([Math.max(...stalls), scrollY / end]);
    scrollBy(0, 2500);
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""


#: Milliseconds from the start of loading to the first frame on the screen.
PAINTED = """new Promise((done) => {
  requestAnimationFrame(() => setTimeout(() => done(performance.now())));
})"""


def test_five_thousand_steps(show: Callable[..., Page]) -> None:
    page = show(long_story())
    usable = page.evaluate(PAINTED)
    print(f"usable after {usable:.0f} ms")
    assert usable < 5000  # under one second on a machine with nothing else to do
    expect(page.locator("#steps .count")).to_have_text("5,000 of 5,000")
    assert 100 < page.locator(".bar.llm").count() < 500
    heights = "all => all.map(bar => parseFloat(bar.style.height))"
    busy = page.eval_on_selector_all(".bar.llm", heights)
    assert 15 < sum(busy) / len(busy) < 50  # merged bars show that the LLM worked now and then
    stall, share = page.evaluate(STALLS)
    print(f"longest stall {stall:.0f} ms")
    assert share > 0.9
    assert stall < 1000
    search(page, "needle-4321", "1 of 5,000")
    page.keyboard.press("Enter")
    expect(row(page, 4321).locator("mark")).to_have_text("needle-4321")
    page.keyboard.press("Escape")
    page.locator("#log > .fold", has_text="Show all 5,000 lines").click()
    expect(page.locator(".log-line")).to_have_count(5000)
    page.evaluate("location.hash = '#step-2500'")
    expect(row(page, 2500).locator(".step-body")).to_be_visible()
    assert_on_screen(row(page, 2500))
