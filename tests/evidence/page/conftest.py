"""A page in a real Chromium, opened from a file as a person does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page

from pytest_agent_sandbox.evidence.page.render import render_run, render_test
from pytest_agent_sandbox.evidence.story import RunStory, TestStory

from .looking import Opened, Seen


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
