"""`agent-sandbox show`: a result in a browser, or on the terminal."""

from __future__ import annotations

import os
import sys
import webbrowser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_agent_sandbox.cli.json_output import print_json
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.evidence import folders, results_table, sections
from pytest_agent_sandbox.evidence.page.write import write_page
from pytest_agent_sandbox.evidence.story import Row
from pytest_agent_sandbox.evidence.story_builder import read_story

_SECONDS = "{:7.1f}s"
_WHAT_TO_GIVE = "Give the folder of a run, such as agent-results, or that of a test in it."


def show(path: Path, *, as_text: bool, as_json: bool = False) -> None:
    """Open a result in the browser, or print it.

    Pages are written first where there are none: of a test whose run was killed, say.

    Args:
        path: A run's output folder, a test's folder in it, or a file in either.
        as_text: Print it, also where there is a browser.
        as_json: Print it for programs.

    Raises:
        SettingsError: There is no result, or its page cannot be written.
    """
    if not path.exists():
        raise SettingsError(f"{path} does not exist. {_WHAT_TO_GIVE}")
    folder = path if path.is_dir() else path.parent
    if (folder / folders.RESULT).is_file():
        page = folder / folders.PAGE
        text, document = _test_text, _test_document
    elif folders.is_ours(folder):
        page = folder / folders.INDEX
        text, document = _run_text, _run_document
    else:
        raise SettingsError(f"{path} holds no result. {_WHAT_TO_GIVE}")
    if as_json:
        print_json(document(folder))
    elif as_text or not _open(page, folder):
        # Agents write in any script; not every terminal can.
        encoding = sys.stdout.encoding or "utf-8"
        print(text(folder).encode(encoding, "replace").decode(encoding), end="")


def _open(page: Path, folder: Path) -> bool:
    """Open the page in a browser; return False where there is none."""
    if not sys.stdout.isatty() or not _has_browser():
        return False
    try:
        if page.name == folders.INDEX:
            results_table.write_index(folder, folder.absolute().parent.name)
        elif not page.exists():
            write_page(folder, read_story(folder))
    except OSError as error:
        raise SettingsError(f"{page} cannot be written: {error}") from None
    print(f"agent-sandbox: opening {page}")
    return webbrowser.open(page.absolute().as_uri())


def _has_browser() -> bool:
    """Tell whether a browser has a screen; one in the terminal would not show the page."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _test_text(folder: Path) -> str:
    story = read_story(folder)
    lines = [sections.printable(f"{story.test}: {story.verdict}. {story.headline}".strip())]
    for failure in story.failures:
        lines += [f"--- what pytest says of {failure.phase}", sections.printable(failure.text)]
    for title, text in sections.of(story, folder):
        lines += [f"--- {title}", text.rstrip()]
    return "\n".join(lines) + "\n"


def _test_document(folder: Path) -> dict[str, Any]:
    return asdict(read_story(folder))


def _run_document(folder: Path) -> dict[str, Any]:
    return {"tests": [asdict(row) for row in results_table.rows(folder)]}


def _run_text(folder: Path) -> str:
    rows = results_table.rows(folder)
    lines = [_row_text(row) for row in rows]
    last = [row for row in rows if not row.superseded]
    failed = sum(row.has_failed for row in last)
    noun = "test" if len(last) == 1 else "tests"
    return "\n".join([*lines, f"{len(last)} {noun} with a sandbox, {failed} failed"]) + "\n"


def _row_text(row: Row) -> str:
    seconds = " " * 8 if row.duration is None else _SECONDS.format(row.duration)
    attempt = f" (attempt {row.attempt})" if row.attempt > 1 else ""
    page = f"\n{' ' * 19}{Path(row.page).parent}" if row.page else ""
    headline = f"\n{' ' * 19}{row.headline}" if row.headline else ""
    return sections.printable(f"{row.verdict:<8} {seconds}  {row.test}{attempt}{headline}{page}")
