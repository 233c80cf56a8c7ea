"""What tests ask of an open page."""

from __future__ import annotations

from dataclasses import dataclass, field

from playwright.sync_api import Locator, Page, expect

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
