"""Takes pictures of pages: those of the documentation, or of any page to look at.

Run it after `scripts/demo`: it makes docs/images/transcript.png and docs/images/failure-to-page.png
of the page that this leaves. With pages as arguments it takes each at 1280 and 390 pixels into
`--to`, as far as a tall window shows it. It needs Chromium.
"""

from __future__ import annotations

import argparse
import base64
import html
import re
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
WIDTHS = (1280, 390)
#: What the terminal shows of a failure, told by docs/results.md.
REPORT = re.compile(r"```text\n(>       assert .*?)```", re.DOTALL)


def main() -> int:
    """Take the pictures; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pages", nargs="*", type=Path, help="HTML files to look at")
    parser.add_argument("--to", type=Path, default=Path("build"), help="folder (%(default)s)")
    options = parser.parse_args()
    made = sorted(ROOT.glob("agent-results/test_fails_on_purpose-*/transcript.html"))
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if browser_path is None or not (options.pages or made):
        print("screenshot: run scripts/demo first, and install Chromium", file=sys.stderr)
        return 1
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"]
        )
        if options.pages:
            look(browser, options.pages, options.to)
        else:
            make_images(browser, made[0])
        browser.close()
    return 0


def look(browser: Browser, pages: list[Path], folder: Path) -> None:
    """Take each page at each width."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in pages:
        for width in WIDTHS:
            page = browser.new_page(viewport={"width": width, "height": 1500}, color_scheme="light")
            page.goto(file.resolve().as_uri())
            page.wait_for_timeout(300)
            name = f"{file.parent.name}-{file.stem}-{width}.png"
            page.screenshot(path=folder / name)
            page.close()
            print(folder / name)


def make_images(browser: Browser, transcript: Path) -> None:
    """Make the documentation's pictures of a failed test."""
    page = browser.new_page(viewport={"width": 1200, "height": 1000}, color_scheme="light")
    page.goto(transcript.as_uri())
    # The top of the page, and the timeline with the first steps instead of pytest's words.
    page.evaluate("document.querySelector('#failure').hidden = true")
    page.wait_for_timeout(300)
    page.screenshot(path=IMAGES / "transcript.png")
    page.close()  # its policy would forbid the styles of the next one
    page = browser.new_page(viewport={"width": 1600, "height": 760})
    page.set_content(side_by_side((IMAGES / "transcript.png").read_bytes()))
    page.wait_for_timeout(300)
    page.screenshot(path=IMAGES / "failure-to-page.png")


def side_by_side(picture: bytes) -> str:
    """Return a page with the terminal's report, and the page it leads to."""
    found = REPORT.search((ROOT / "docs" / "results.md").read_text("utf-8"))
    assert found, "docs/results.md has no report of a failure"
    report = html.escape(found[1])
    report = re.sub(r"(?m)^(E .*|fault: .*)$", r"<b class=red>\1</b>", report)
    report = re.sub(r"(?m)^(-{4,}.*)$", r"<b class=dim>\1</b>", report)
    report = re.sub(r"(?m)^(page: .*)$", r"<b class=link>\1</b>", report)
    encoded = base64.b64encode(picture).decode()
    return f"""<!doctype html><style>
body {{ margin: 0; padding: 24px; display: grid; grid-template-columns: 1fr 48px 1fr; gap: 12px;
  align-items: center; background: #eef0f4; height: 712px }}
pre, img {{ height: 700px; width: 100%; box-sizing: border-box; border-radius: 8px;
  box-shadow: 0 4px 18px #0003; overflow: hidden }}
pre {{ margin: 0; padding: 18px; background: #16181d; color: #d8dce3;
  font: 12px/20px "DejaVu Sans Mono", monospace }}
img {{ object-fit: contain; object-position: top; background: #fff }}
i {{ font: 44px sans-serif; color: #5661c9; text-align: center }}
.red {{ color: #ff7b72 }} .dim {{ color: #8b93a1; font-weight: normal }} .link {{ color: #79c0ff }}
</style><pre>$ pytest examples/failing\n{report}</pre><i>➜</i>
<img src="data:image/png;base64,{encoded}">"""


if __name__ == "__main__":
    sys.exit(main())
