"""The results of all versions: kept in a file, shown as a page of the documentation."""

from __future__ import annotations

import json
from pathlib import Path

from pytest_agent_sandbox.client import versions

from .protocol import GROUPS
from .releases import numbers
from .sweep import Group, Result

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
_HEAD = """\
# Versions of the agent server

Made by `scripts/compat --write`; do not edit. Each cell is the result of a run of the client's
tests of the group against the real server of that version, installed from PyPI with the packages
of its time. `yes`: all tests passed. `3 of 4`: three passed; [below](#what-did-not-pass) are those
that did not. `no`: none passed. `-`: no run, for the reason there.

Versions {oldest} to {newest} work. Any other version raises an `AgentServerVersionWarning` that
says what is known to differ. `scripts/compat 1.58` tests a version, `scripts/compat --all` each
minor of the last six months.

"""


def load() -> dict[str, Result]:
    """The results so far by version, newest version first."""
    if not RESULTS.is_file():
        return {}
    found = json.loads(RESULTS.read_text("utf-8"))
    return _sorted({version: Result.from_json(data) for version, data in found.items()})


def save(results: dict[str, Result]) -> None:
    """Keep the results; of each minor, those of the last version that was tested."""
    data = {version: result.as_json() for version, result in _sorted(results).items()}
    RESULTS.write_text(json.dumps(data, indent=1) + "\n", "utf-8")


def page(results: dict[str, Result]) -> str:
    """The page's text."""
    oldest, newest = versions.TESTED
    head = _HEAD.format(oldest=versions.named(oldest), newest=versions.named(newest))
    return head + _table(results) + _differences() + _failures(results)


def _sorted(results: dict[str, Result]) -> dict[str, Result]:
    return dict(sorted(results.items(), key=lambda item: numbers(item[0]), reverse=True))


def _table(results: dict[str, Result]) -> str:
    columns = ["server", "released", "Python", "tested", *GROUPS, "known to differ"]
    lines = [_row(columns), "|---" * len(columns) + "|\n"]
    for version, result in results.items():
        known = versions.differences(version)
        cells = [version, result.released, result.python, result.tested]
        cells += [cell(result.groups.get(name)) for name in GROUPS]
        cells.append(", ".join(f"[{one.name}](#differences)" for one in known) or "nothing")
        lines.append(_row(cells))
    return "".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def cell(group: Group | None) -> str:
    """A group's result in a word or two."""
    if group is None:
        return "-"
    if not group.failed:
        return "yes"
    return f"{group.passed} of {group.passed + len(group.failed)}" if group.passed else "no"


def _differences() -> str:
    lines = [
        "\n## Differences\n\n",
        "| what | versions | how it differs, and what the client does |\n",
    ]
    lines.append("|---|---|---|\n")
    lines += [_row([one.name, one.versions, one.text]) for one in versions.DIFFERENCES]
    return "".join(lines)


def _failures(results: dict[str, Result]) -> str:
    lines = ["\n## What did not pass\n\n"]
    for version, result in results.items():
        if result.problem:
            lines.append(f"- **{version}** {result.problem}\n")
        for name, group in result.groups.items():
            lines += [
                f"- **{version}**, {name}: `{test}`: {_escaped(reason)}\n"
                for test, reason in group.failed.items()
            ]
    return "".join(lines) if len(lines) > 1 else lines[0] + "Nothing.\n"


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "\\|")
