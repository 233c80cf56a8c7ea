"""Pictures and videos on a test's page, in a real Chromium."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from pytest_agent_sandbox.evidence.page.render import render_test
from pytest_agent_sandbox.evidence.story import RawFile, Step, StoryPicture, TestStory
from tests.evidence.images import GIF, JPEG, SVG, WEBP, data_url, png
from tests.evidence.stories import EVIL

from .looking import WIDTHS, Seen, row, scrolls_sideways, search


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
