"""The site: built without a warning, complete, every link leads somewhere, and it needs nobody."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

import pytest

import pytest_agent_sandbox
from pytest_agent_sandbox import errors
from pytest_agent_sandbox.cli.main import make_parser
from pytest_agent_sandbox.plugin import fixtures
from pytest_agent_sandbox.settings.table import SETTINGS

from .markdown import PAGES, ROOT, blocks_in, text_of

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

#: What a browser fetches by itself.
LOADED = {"img": "src", "script": "src", "iframe": "src", "source": "src"}


@dataclass
class HTMLPage(HTMLParser):
    """A page of the site: what it links to, what it loads, and what can be linked to in it."""

    text: str
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids.add(values.get("id", ""))
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and values.get("rel") not in ("canonical", "prev", "next"):
            self.loads.append(values["href"])
        if LOADED.get(tag) in values:
            self.loads.append(values[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    finished = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
    assert "WARNING" not in finished.stdout
    return folder


def test_a_docker_workspace_is_told_as_a_whole(site: Path) -> None:
    page = "".join(file.read_text("utf-8") for file in site.glob("reference/**/*.html"))
    for name in ("from_request", "restart", "start_seconds", "end_facts"):
        assert f'id="pytest_agent_sandbox.DockerWorkspace.{name}"' in page, name


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, HTMLPage]:
    return {
        path.relative_to(site).as_posix(): HTMLPage(path.read_text("utf-8"))
        for path in site.rglob("*.html")
        if path.name != "404.html"  # its links begin at the root of a server
    }


def test_every_link_leads_somewhere(site: Path, pages: dict[str, HTMLPage]) -> None:
    broken = []
    for name, page in pages.items():
        for link in {*page.links, *page.loads}:
            parts = urlsplit(link)
            if parts.scheme:
                if parts.scheme not in ("https", "mailto"):
                    broken.append(f"{name}: {link}")
                continue
            path = (site / name).parent.joinpath(unquote(parts.path)) if parts.path else site / name
            target = path.resolve().relative_to(site.resolve()).as_posix()
            if not path.exists():
                broken.append(f"{name}: {link}")
            elif parts.fragment and unquote(parts.fragment) not in pages[target].ids:
                broken.append(f"{name}: {link}: no such anchor")
    assert not broken


def test_no_page_loads_anything_from_elsewhere(site: Path, pages: dict[str, HTMLPage]) -> None:
    loads = {load for page in pages.values() for load in page.loads}
    assert any(load.endswith(".css") for load in loads)
    assert any(load.endswith(".js") for load in loads)
    assert not [load for load in loads if urlsplit(load).netloc]
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?https?:", sheet.read_text("utf-8")), sheet


def test_the_reference_is_complete(pages: dict[str, HTMLPage]) -> None:
    fixture = type(fixtures.agent_workspace)
    own_errors = [
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.SandboxError)
    ]
    wanted = {
        "api": [
            f"pytest_agent_sandbox.{name}"
            for name in pytest_agent_sandbox.__all__
            if name not in own_errors
        ],
        "errors": [f"pytest_agent_sandbox.{name}" for name in own_errors],
        "fixtures": [
            f"pytest_agent_sandbox.plugin.fixtures.{name}"
            for name, value in vars(fixtures).items()
            if isinstance(value, fixture)
        ],
        "settings": [setting.name for setting in SETTINGS],
        "command-line": ["agent-sandbox", "agent-sandbox-doctor", "agent-sandbox-cassettes-check"],
    }
    for name, ids in wanted.items():
        assert len(ids) > 2
        assert not set(ids) - pages[f"reference/{name}.html"].ids
    assert make_parser().format_usage().split()[1] == "agent-sandbox"


def test_nothing_of_the_sources_is_left_over(pages: dict[str, HTMLPage]) -> None:
    for name, page in pages.items():
        assert "made of:" not in page.text, name
        assert not re.search("<!-- (before|fails|image|llm|not run):", page.text), name


def test_it_opens_from_disk_and_its_search_finds(browser: BrowserContext, site: Path) -> None:
    page = browser.new_page()
    asked, problems = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto((site / "index.html").as_uri())
    # What is typed before the search has read its index goes by unheard: a person types again.
    result = page.locator(".md-search-result__item").first
    deadline = time.monotonic() + 60
    while not result.is_visible() and time.monotonic() < deadline:
        page.get_by_placeholder("Search").first.fill("")
        page.get_by_placeholder("Search").first.press_sequentially("recycled")
        page.wait_for_timeout(2_000)
    assert "recycled" in result.inner_text().lower()
    page.close()
    assert not problems
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]


@pytest.mark.parametrize(("scheme", "colours"), [("light", "default"), ("dark", "slate")])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_page_fits_the_window_and_has_the_colours_of_the_system(
    browser: BrowserContext,
    site: Path,
    pages: dict[str, HTMLPage],
    scheme: Literal["light", "dark"],
    colours: str,
    width: int,
) -> None:
    assert browser.browser is not None
    size = {"width": width, "height": 800}
    with browser.browser.new_context(color_scheme=scheme, viewport=size) as reader:
        page = reader.new_page()
        for name in pages:
            page.goto((site / name).as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            # The theme's script sees to it, once the page is there.
            page.locator(f"body[data-md-color-scheme={colours}]").wait_for(timeout=30_000)


@pytest.mark.parametrize("name", PAGES)
def test_links_of_the_sources_lead_somewhere_in_the_repository(name: str) -> None:
    text = text_of(name)
    for target, anchor in re.findall(r"\]\((?!\w+:)([^)\s#]*)(?:#([^)\s]*))?\)", text):
        path = (ROOT / name).parent / target if target else ROOT / name
        assert path.exists(), target
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Those that GitHub makes of the headings."""
    lines = page.read_text("utf-8").splitlines()
    titles = [line.lstrip("#").strip() for line in lines if re.match(r"#+ ", line)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_parts_of_the_readme_that_the_home_page_takes_are_there() -> None:
    assert [block.language for block in blocks_in(text_of("docs/index.md"), "docs/index.md")] == []
    wanted = re.findall(r"<!-- made of: README\.md: (.+) -->", text_of("docs/index.md"))
    assert wanted[0] == "its beginning"
    assert {f"## {title}" for title in wanted[1:]} <= set(text_of("README.md").splitlines())
