"""Attachments to reports of other plugins, where they are installed and at work."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

#: What Allure gets, and as what: the page first.
_ALLURE_FILES = {
    "transcript.html": ("text/html", "html"),
    "desktop.mp4": ("video/mp4", "mp4"),
    "workspace.diff": ("text/plain", "diff"),
    "container.log": ("text/plain", "log"),
    "events.jsonl": ("text/plain", "jsonl"),
    "llm-calls.jsonl": ("text/plain", "jsonl"),
    "commands.jsonl": ("text/plain", "jsonl"),
    "result.json": ("application/json", "json"),
}


def to_pytest_html(config: pytest.Config, report: pytest.TestReport, page: Path) -> None:
    """Add a link to a test's page to its row in pytest-html's report (4.x)."""
    report_file = config.getoption("htmlpath", None)
    if not config.pluginmanager.has_plugin("html") or not report_file:
        return
    from pytest_html import extras  # type: ignore[import-untyped]

    # A test may have changed the working directory since pytest-html took the path.
    given = Path(os.path.expandvars(report_file)).expanduser()
    folder = (config.invocation_params.dir / given).parent
    link = page.as_posix()
    with suppress(ValueError):  # on Windows: on another drive
        link = Path(os.path.relpath(page, folder)).as_posix()
    extra = extras.url(link, name="Agent transcript")
    vars(report)["extras"] = [*getattr(report, "extras", []), extra]


def to_allure(config: pytest.Config, folder: Path) -> None:
    """Attach a test's page and files to it in Allure's results."""
    if not config.getoption("allure_report_dir", None):
        return
    import allure

    attach: Any = allure.attach.file
    for name, (media_type, extension) in _ALLURE_FILES.items():
        path = folder / name
        if path.exists() and path.stat().st_size:
            attach(path, name=f"agent {name}", attachment_type=media_type, extension=extension)
