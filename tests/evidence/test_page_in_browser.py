"""The pages in a real Chromium, opened from a file as a person does."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from pytest_agent_sandbox.evidence.page.render import render_run, render_test
from pytest_agent_sandbox.evidence.story import RawFile, RunStory, Step, StoryPicture, TestStory

from .images import GIF, JPEG, SVG, WEBP, data_url, png
from .stories import EVIL, TEST, failing_story, hostile_story, long_story, run_story

WIDTHS = (390, 768, 1280)
Opened = tuple[Page, "Seen"]


@dataclass
class Seen:
    """What a page did that it must not do."""

    address: str
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: self.requests.append(request.url))

    def check(self) -> None:
        assert self.complaints == []
        assert {url.partition("#")[0] for url in self.requests} == {self.address}


@pytest.fixture
def show(browser: BrowserContext, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens a story's page; at the end, nothing may have been asked for or complained of."""
    opened: list[Opened] = []

    def open_page(
        story: TestStory | RunStory, *, width: int = 1280, anchor: str = "", script: str = ""
    ) -> Page:
        is_test = isinstance(story, TestStory)
        path = tmp_path / ("transcript.html" if is_test else "index.html")
        text = render_test(story) if isinstance(story, TestStory) else render_run(story)
        path.write_text(text, encoding="utf-8")
        page = browser.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="light")
        page.set_default_timeout(10_000)
        if script:
            page.add_init_script(script)
        seen = Seen(path.as_uri())
        seen.watch(page)
        page.goto(path.as_uri() + anchor)
        opened.append((page, seen))
        return page

    yield open_page
    for page, seen in opened:
        page.close()
        seen.check()


def row(page: Page, number: int) -> Locator:
    return page.locator(f"#step-{number}")


def is_open(page: Page, number: int) -> bool:
    return row(page, number).locator(".step-head").get_attribute("aria-expanded") == "true"


def shown_steps(page: Page) -> list[int]:
    ids = page.eval_on_selector_all(".step", "all => all.filter(one => !one.hidden).map(x => x.id)")
    return [int(name.removeprefix("step-")) for name in ids]


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.closest('[id]')?.id"))


ON_SCREEN = """node => new Promise((done) => {
  const look = (times) => {
    const { top } = node.getBoundingClientRect();
    if ((top >= 0 && top < 700) || times > 100) done(top);
    else setTimeout(look, 50, times + 1);
  };
  look(0);
})"""


def assert_on_screen(target: Locator) -> None:
    """Waits until the target is in the upper part of the window, and stays there."""
    target.evaluate(ON_SCREEN)
    target.page.wait_for_timeout(50)
    assert 0 <= target.evaluate("node => node.getBoundingClientRect().top") < 700


def scrolls_sideways(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


def search(page: Page, words: str, count: str) -> None:
    page.locator("#steps input").fill(words)
    expect(page.locator("#steps .count")).to_have_text(count)


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
    expect(page).to_have_title("2 failed of 11: Agent tests")
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


def looking_story(*data: str) -> TestStory:
    """A story with a tool call that has a picture for each of the data; files where it is empty."""
    pictures = [
        StoryPicture(name=f"screenshot-{number}.png", size=12345, width=1280, height=800, data=one)
        for number, one in enumerate(data, start=1)
    ]
    step = Step(kind="tool", title="browser_get_state", summary="include_screenshot: true",
                time=1.0, pictures=[picture.name for picture in pictures])  # fmt: skip
    return TestStory(test="t.py::test_x", steps=[step], pictures=pictures)


DRAWN = "all => all.map(image => [image.naturalWidth, image.naturalHeight])"


def test_pictures_are_drawn_and_shown_in_full(show: Callable[..., Page]) -> None:
    large = data_url(png(1280, 800))
    page = show(looking_story(large, *(data_url(*one) for one in
                              ((JPEG, "jpeg"), (GIF, "gif"), (WEBP, "webp")))))  # fmt: skip
    images = page.locator("#step-1 img")
    expect(images).to_have_count(4)
    images.last.scroll_into_view_if_needed()
    page.wait_for_function("[...document.images].every(image => image.complete)")
    assert images.evaluate_all(DRAWN) == [[1280, 800], [3, 2], [3, 2], [3, 2]]
    assert images.first.get_attribute("alt") == "Screenshot screenshot-1.png"
    assert images.first.get_attribute("loading") == "lazy"
    expect(row(page, 1)).to_contain_text("screenshot-1.png1280 \u00d7 800 · 12.3 kB")
    links = page.eval_on_selector_all(".picture a", "all => all.map(a => a.getAttribute('href'))")
    assert links == [f"screenshot-{number}.png" for number in range(1, 5)]
    sign = row(page, 1).locator(".picture-sign")
    assert sign.get_attribute("aria-label") == "4 pictures"
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert not scrolls_sideways(page), width
        box = images.first.bounding_box()
        assert box is not None
        assert 300 < box["width"] <= 480
        assert box["width"] / box["height"] == pytest.approx(1280 / 800, rel=0.01)
    images.first.click()
    full = page.get_by_role("dialog").locator("img")
    expect(full).to_be_visible()
    assert full.evaluate("image => [image.clientWidth, image.clientHeight]") == [1280, 800]
    assert not scrolls_sideways(page)
    page.keyboard.press("j")  # a key of the page behind
    expect(full).to_be_visible()
    page.keyboard.press("Escape")
    expect(full).to_have_count(0)
    page.keyboard.press("Enter")  # the focus is where it was
    expect(full).to_be_visible()
    page.get_by_role("button", name="Close").click()
    expect(full).to_have_count(0)
    search(page, "screenshot-3", "1 of 1")


def test_pictures_that_are_not_in_the_page_and_those_that_harm(show: Callable[..., Page]) -> None:
    broken = png(64, 64)[:60] + b"broken" * 20
    story = looking_story(
        "",
        data_url(broken),
        data_url(b"nothing"),
        data_url(SVG, "svg+xml"),
        "javascript:window.hacked=1",
        "https://evil.example/x.png",
        data_url(png()) + '#"><script>window.hacked=1</script>',
    )
    story.steps[0].pictures += ["screenshot-99.png", "javascript:window.hacked=1", EVIL]
    story.pictures[0].name = story.steps[0].pictures[0] = "a folder/50%.png"
    page = show(story)
    step = row(page, 1)
    expect(step.get_by_text("This picture cannot be drawn.")).to_have_count(1)
    expect(step.locator(".picture")).to_have_count(7)
    expect(step.locator("img")).to_have_count(1)  # the broken one, as far as it goes
    assert step.locator(".picture a").first.get_attribute("href") == "a%20folder/50%25.png"
    assert page.evaluate("window.hacked") is None
    assert not scrolls_sideways(page)


RECORD = """() => new Promise((done) => {
  const canvas = document.createElement("canvas");
  const ink = canvas.getContext("2d");
  const recorder = new MediaRecorder(canvas.captureStream(30));
  recorder.ondataavailable = async ({ data }) => {
    done(btoa(String.fromCharCode(...new Uint8Array(await data.arrayBuffer()))));
  };
  let frames = 0;
  const draw = setInterval(() => {
    ink.fillRect(frames, 0, 10, 10);
    if ((frames += 1) < 10) return;
    clearInterval(draw);
    recorder.stop();
  }, 30);
  recorder.start();
})"""


def test_videos_beside_the_page_and_one_that_is_not(
    show: Callable[..., Page], browser: BrowserContext, tmp_path: Path
) -> None:
    story = looking_story()
    names = {"desktop.mp4": 2_500_000, "gone.mp4": 5, "javascript:window.hacked=1": 5, EVIL: 5}
    story.videos = [RawFile(name=name, size=size) for name, size in names.items()]
    page = browser.new_page()
    video = base64.b64decode(page.evaluate(RECORD))
    (tmp_path / "desktop.mp4").write_bytes(video)
    (tmp_path / "transcript.html").write_text(render_test(story), encoding="utf-8")
    seen = Seen((tmp_path / "transcript.html").as_uri())
    seen.watch(page)
    page.goto(seen.address)
    section = page.locator("#video")
    expect(section.locator("video")).to_have_count(1)
    page.wait_for_function("document.querySelector('video').readyState > 0")
    assert section.locator("video").evaluate("video => video.videoWidth") == 300
    assert section.locator("video").get_attribute("preload") == "metadata"
    expect(section).to_contain_text("desktop.mp42.5 MB")
    expect(section.locator(".note")).to_contain_text("not beside this page")
    links = section.locator("a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert links == ["desktop.mp4", "gone.mp4"]
    expect(section.locator("figure")).to_have_count(4)
    assert page.evaluate("window.hacked") is None
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert not scrolls_sideways(page), width
    page.close()
    folder = tmp_path.as_uri()
    assert set(seen.requests) == {seen.address, f"{folder}/desktop.mp4", f"{folder}/gone.mp4"}
    # That the file is not there is what a browser complains of, and nothing else is.
    assert [words for words in seen.complaints if "ERR_FILE_NOT_FOUND" not in words] == []
