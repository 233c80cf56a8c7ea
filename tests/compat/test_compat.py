"""`scripts/compat`: its page says what was found, its suite is there, bad input is refused."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pytest_agent_sandbox.client import versions
from pytest_agent_sandbox.errors import ImageBuildFailed

from . import command, page, releases
from .protocol import GROUPS, suite
from .releases import Release
from .sweep import Group, Result, not_installed, read_report

ROOT = Path(__file__).parents[2]


def test_the_page_shows_the_results() -> None:
    shown = page.PAGE.read_text("utf-8")
    assert shown == page.page(page.load()), "scripts/compat --write makes it anew"


def test_the_tested_range_is_of_versions_that_work() -> None:
    found = {versions.minor_of(version): result for version, result in page.load().items()}
    oldest, newest = versions.TESTED
    assert newest == max(minor for minor in found if minor)
    for minor in (oldest, newest):
        known = {one.name for one in versions.differences(versions.named(minor))}
        bad = {name for name, group in found[minor].groups.items() if not group.passed}
        assert bad <= known, f"{minor} does not work, and no difference says so"


def test_the_suite_is_there() -> None:
    words = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider"]
    done = subprocess.run([*words, *suite()], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "warnings" not in done.stdout


@pytest.fixture
def _pypi(monkeypatch: pytest.MonkeyPatch) -> None:
    known = [
        Release(name, datetime(2026, 11, 1, tzinfo=UTC)) for name in ("1.2.1", "1.2.0", "1.1.0")
    ]
    monkeypatch.setattr(command, "published_releases", lambda: known)


@pytest.mark.usefixtures("_pypi")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a version, or use --all"),
        (["latest"], "'latest' is no version of the agent server; write 1.58 or 1.58.0"),
        (["1"], "'1' is no version"),
        (["1.3"], "no openhands-agent-server 1.3; its newest is 1.2.1"),
        (["--image", "no/such:image"], "there is no image 'no/such:image'"),
    ],
)
def test_bad_input_is_refused(
    engine: object, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = command.main(words)
    except SystemExit as end:
        code = end.code
    assert code
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("_pypi")
def test_versions_are_found() -> None:
    known = command.published_releases()
    assert [one.version for one in releases.chosen(known, ["1.2", "1.2.0"])] == ["1.2.1", "1.2.0"]
    assert [one.version for one in releases.last_of_each_minor(known)] == ["1.2.1", "1.1.0"]


def test_only_those_of_the_last_months() -> None:
    now = datetime.now(UTC)
    old = datetime(2020, 1, 1, tzinfo=UTC)
    known = [
        Release("1.10.0", now),
        Release("1.9.1", now),
        Release("1.9.0", old),
        Release("1.8.0", old),
    ]
    assert [one.version for one in releases.recent(known, 6)] == ["1.10.0", "1.9.1"]


def test_a_report_becomes_a_result(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        """<testsuites><testsuite>
        <testcase classname="tests.client.test_files" name="test_x"/>
        <testcase classname="tests.client.test_files" name="test_y[a]">
            <failure message="no&#10;more"/>
        </testcase>
        <testcase classname="tests.client.test_git" name="test_x"><error message="late"/></testcase>
        <testcase classname="tests.client.test_conversation" name="test_a_rejected_call_is_not"/>
        </testsuite></testsuites>"""
    )
    groups = read_report(report)
    assert groups["files"] == Group(1, {"test_y[a]": "no"})
    assert [page.cell(groups[name]) for name in ("files", "git", "confirmation")] == [
        "1 of 2",
        "no",
        "yes",
    ]
    result = Result("2026-11-01", "2026-11-02", "3.13.5", groups)
    assert Result.from_json(result.as_json()) == result
    shown = page.page({"1.2.1": result})
    assert "| 1.2.1 | 2026-11-01 | 3.13.5 |" in shown
    assert "- **1.2.1**, git: `test_x`: late" in shown


def test_a_version_that_cannot_be_installed_is_shown() -> None:
    shown = page.page({"1.2.1": not_installed(ImageBuildFailed("nothing fits"), "2026-11-01")})
    assert "- **1.2.1** cannot be installed: nothing fits" in shown
    assert shown.count("| - ") == len(GROUPS)
