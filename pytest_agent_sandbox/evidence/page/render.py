"""Rendering of a page as one file: the story as JSON, and the styles and scripts that draw it.

The file needs no network and no server. Its content security policy lets nothing run or load but
what is written here: the texts in a story come from agents and their tools, and are not trusted.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import json
import math
import re
import time
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

from pytest_agent_sandbox.evidence.story import RunStory, TestStory, Verdict

_FOLDER = Path(__file__).parent
_SHARED_STYLES = ("common.css",)
_SHARED_SCRIPTS = ("common.js",)
_TEST_STYLES = (
    *_SHARED_STYLES,
    "text.css",
    "transcript.css",
    "steps.css",
    "pictures.css",
    "timeline.css",
)
_TEST_SCRIPTS = (
    *_SHARED_SCRIPTS,
    "ansi.js",
    "text.js",
    "search.js",
    "timeline.js",
    "pictures.js",
    "steps.js",
    "filters.js",
    "log.js",
    "header.js",
    "sections.js",
    "transcript.js",
)
_RUN_STYLES = (*_SHARED_STYLES, "index.css")
_RUN_SCRIPTS = (*_SHARED_SCRIPTS, "groups.js", "index.js")

_VERDICTS: dict[Verdict, str] = {
    "failed": "Failed",
    "passed": "Passed",
    "skipped": "Skipped",
    "running": "Unfinished",
}
#: What would end the script element, or is no character of UTF-8 or of older JavaScript.
_UNSAFE_IN_JSON = re.compile("[<>&\u2028\u2029\ud800-\udfff]")
#: Kinds of characters that cannot be seen, some of which reorder the text around them.
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<div id="page">
<header class="page-header">
{summary}
</header>
<noscript><p class="callout">{without_script}</p></noscript>
</div>
<script type="application/json" id="story">{story}</script>
<script>{script}</script>
</body>
</html>
"""


def render_test(story: TestStory) -> str:
    """Render the page of one attempt at a test.

    The names of files and the way to the run's page are taken as paths, relative to the page and
    with `/` between folders: they are not percent-encoded yet. `#step-1`, `#change-1` and `#log-1`
    lead to the first step, change and line of the log.
    """
    verdict = _VERDICTS[story.verdict]
    summary = (
        f'<p><span class="badge {story.verdict}">{verdict}</span> {_escape(story.summary)}</p>\n'
        f'<h1 class="headline" dir="auto">{_escape(story.headline or story.test)}</h1>\n'
        f'<p class="test-name">{_escape(story.test)}</p>'
    )
    names = ", ".join(file.name for file in story.files)
    beside = f"the files beside it hold the same: {names}" if names else "no files are beside it"
    return _page(
        title=f"{verdict}: {story.test}",
        summary=summary,
        without_script=f"This page is drawn by JavaScript, which is off here; {beside}.",
        story=story,
        styles=_TEST_STYLES,
        scripts=_TEST_SCRIPTS,
    )


def render_run(story: RunStory) -> str:
    """Render the page of a whole run; its rows lead to the pages of the tests."""
    last = [row for row in story.rows if not row.superseded]
    failed = sum(row.has_failed for row in last)
    said = f"{failed:,} failed of {len(last):,}"
    name = f"{story.title}, {_run(story.started)}"
    summary = f'<h1 dir="auto">{_escape(name)}</h1>\n<p>{said}</p>'
    return _page(
        title=f"{said}: {name}",
        summary=summary,
        without_script="This page is drawn by JavaScript, which is off here; "
        "the folders beside it hold the files of each test, such as events.jsonl.",
        story=story,
        styles=_RUN_STYLES,
        scripts=_RUN_SCRIPTS,
    )


def _run(started: float) -> str:
    """Return the name of a run: when it began, on this machine's clock."""
    try:
        return time.strftime("run of %Y-%m-%d %H:%M", time.localtime(started))
    except (OverflowError, OSError, ValueError):  # no time of this world
        return "a run"


def _page(
    *,
    title: str,
    summary: str,
    without_script: str,
    story: TestStory | RunStory,
    styles: tuple[str, ...],
    scripts: tuple[str, ...],
) -> str:
    style, script = _style(styles), _script(scripts)
    # A video is too large to be part of the page: it is a file beside it.
    media = "media-src 'self'; " if isinstance(story, TestStory) and story.videos else ""
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        f"img-src data:; {media}base-uri 'none'; form-action 'none'"
    )
    return _PAGE.format(
        policy=policy,
        title=_escape(title),
        style=style,
        summary=summary,
        without_script=_escape(without_script),
        story=_json(dataclasses.asdict(story)),
        script=script,
    )


@cache
def _style(names: tuple[str, ...]) -> str:
    return "\n".join(_read(name) for name in names)


@cache
def _script(names: tuple[str, ...]) -> str:
    """Put one function around all of the files: they share their names, and leave none behind."""
    return "\n".join(['(() => {\n"use strict";', *(_read(name) for name in names), "})();"])


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:  # JSON has no word for a number that is none
        text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"))
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _finite(value: Any) -> Any:
    """Return the same value, with None for each infinite number."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _escape(text: str) -> str:
    """Return a text as HTML; characters that cannot be seen are written out."""
    return html.escape("".join(map(_visible, text)))


def _visible(character: str) -> str:
    if character in "\t\n" or unicodedata.category(character) not in _INVISIBLE:
        return character
    return f"⟨U+{ord(character):04X}⟩"
