"""Makes docs/transcript.png, the README's picture of a failed test's page.

Run it after `scripts/demo`, which leaves such a page; it needs Chromium.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "transcript.png"
SIZE = {"width": 1200, "height": 1000}


def main() -> int:
    """Take the picture; return the exit code."""
    pages = sorted(ROOT.glob("agent-results/test_fails_on_purpose-*/transcript.html"))
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if not pages or browser_path is None:
        print("screenshot: run scripts/demo first, and install Chromium", file=sys.stderr)
        return 1
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(pages[0].as_uri())
        # The top of the page, and the timeline with the first steps instead of pytest's words.
        page.evaluate("document.querySelector('#failure').hidden = true")
        page.wait_for_timeout(300)
        page.screenshot(path=PICTURE)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
