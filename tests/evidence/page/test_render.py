"""The pages as text: what is inlined, and that nothing in a story can break out of it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pytest_agent_sandbox.evidence.page import render
from pytest_agent_sandbox.evidence.page.render import render_run, render_test
from pytest_agent_sandbox.evidence.story import (
    RawFile,
    Row,
    RunStory,
    Step,
    StoryPicture,
    TestStory,
)
from tests.evidence.stories import EVIL, failing_story, hostile_story, run_story

FOLDER = Path(render.__file__).parent


class Page(HTMLParser):
    """What a browser without script gets to see, roughly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.contents: dict[str, str] = {}
        self.attributes: list[tuple[str, str, str | None]] = []
        self._open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        kind = dict(attrs).get("type") or ""
        self._open = f"{tag} {kind}".strip()

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        self.contents[self._open] = self.contents.get(self._open, "") + data

    def attribute(self, tag: str, name: str, value: str, wanted: str) -> str:
        """The attribute of the tag that has another attribute of this value."""
        at = self.attributes.index((tag, name, value))
        return next(v or "" for t, n, v in self.attributes[at:] if (t, n) == (tag, wanted))


def story_in(page: str) -> Any:
    return json.loads(Page(page).contents["script application/json"])


def as_json(story: TestStory | RunStory) -> Any:
    return json.loads(json.dumps(dataclasses.asdict(story)))


@pytest.mark.parametrize("page", [render_test(failing_story()), render_run(run_story())])
def test_nothing_runs_but_what_is_hashed(page: str) -> None:
    parsed = Page(page)
    policy = parsed.attribute("meta", "http-equiv", "Content-Security-Policy", "content")
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))

    def hash_of(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert directives == {
        "default-src": "'none'",
        "script-src": hash_of(parsed.contents["script"]),
        "style-src": hash_of(parsed.contents["style"]),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert parsed.attribute("meta", "name", "referrer", "content") == "no-referrer"
    assert not [name for _, name, _ in parsed.attributes if name == "style" or name[:2] == "on"]
    assert not [name for _, name, _ in parsed.attributes if name in ("src", "href")]


def test_the_story_is_in_the_page() -> None:
    assert story_in(render_test(failing_story())) == as_json(failing_story())
    assert story_in(render_run(run_story())) == as_json(run_story())


def test_hostile_texts_stay_texts() -> None:
    story = hostile_story(long_line=1000)
    page = render_test(story)
    assert sorted(Page(page).tags) == sorted(Page(render_test(TestStory(test="x"))).tags)
    page.encode("utf-8")
    read = story_in(page)
    assert read["steps"][0]["summary"] == EVIL
    assert read["duration"] is None  # NaN
    assert read["steps"][3]["time"] is None  # infinity
    assert read["steps"][1]["duration"] == 1e9


def test_hostile_rows_stay_texts() -> None:
    page = render_run(RunStory(title=EVIL, started=0, rows=[Row(test=EVIL, headline=EVIL)]))
    assert sorted(Page(page).tags) == sorted(Page(render_run(RunStory(title="", started=0))).tags)
    page.encode("utf-8")
    assert story_in(page)["rows"][0]["test"] == EVIL


def test_what_is_there_without_script() -> None:
    parsed = Page(render_test(failing_story()))
    assert parsed.contents["title"].startswith("Failed: tests/agents/test_cleanup.py::")
    assert parsed.contents["h1"] == "AssertionError: LICENSE is gone"
    assert "events.jsonl, llm-calls.jsonl" in parsed.contents["p"]
    assert "3 failed of 12" in Page(render_run(run_story())).contents["title"]


def test_characters_that_hide_or_reorder_are_written_out() -> None:
    page = render_test(TestStory(test="a\u202eb\x00c\u2066\u200b\ud800 שלום é\U0001f600"))
    assert "a⟨U+202E⟩b⟨U+0000⟩c⟨U+2066⟩⟨U+200B⟩⟨U+D800⟩ שלום é\U0001f600" in page


@pytest.mark.parametrize("verdict", ["failed", "passed", "skipped", "running"])
def test_every_verdict_has_a_word(verdict: Any) -> None:
    words = {"failed": "Failed", "passed": "Passed", "skipped": "Skipped", "running": "Unfinished"}
    assert (
        Page(render_test(TestStory(test="x", verdict=verdict))).contents["span"] == words[verdict]
    )


def test_every_asset_is_used_and_none_can_end_its_element() -> None:
    scripts = {*render._TEST_SCRIPTS, *render._RUN_SCRIPTS}
    styles = {*render._TEST_STYLES, *render._RUN_STYLES}
    files = {path.name for path in FOLDER.iterdir() if path.suffix in (".css", ".js")}
    assert files == scripts | styles
    for path in FOLDER.glob("*.[cj]s*"):
        assert not re.search(r"</|<!--", path.read_text(encoding="utf-8")), path
    for path in FOLDER.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        forbidden = r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|Storage"
        assert not re.search(forbidden, text), path
        assert len(text.splitlines()) < 320, path


def test_a_long_text_in_other_letters_is_not_blown_up() -> None:
    text = "שלום" * 1000
    empty = len(render_test(TestStory(test="x")).encode())
    page = render_test(
        TestStory(test="x", steps=[Step(kind="message", title="user", summary=text)])
    )
    assert len(page.encode()) - empty < len(text.encode()) + 500


def test_only_a_page_with_videos_may_load_them_and_pictures_need_nothing_more() -> None:
    plain = policy_of(failing_story())
    story = failing_story()
    story.pictures = [StoryPicture(name="screenshot-1.png", size=5, data="data:image/png;base64,")]
    assert policy_of(story) == plain
    story.videos = [RawFile(name="desktop.mp4", size=5)]
    assert policy_of(story) == plain.replace("data:;", "data:; media-src 'self';")


def policy_of(story: TestStory) -> str:
    parsed = Page(render_test(story))
    return parsed.attribute("meta", "http-equiv", "Content-Security-Policy", "content")
