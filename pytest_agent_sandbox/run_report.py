"""The end of a run: its page, and where people are told of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_agent_sandbox import github
from pytest_agent_sandbox.evidence import folders, run_results
from pytest_agent_sandbox.options import resolve
from pytest_agent_sandbox.run import is_worker, output_folder, run_id

if TYPE_CHECKING:
    from pytest_agent_sandbox.evidence.story import Row

_ROWS: pytest.StashKey[list[Row]] = pytest.StashKey()


def write(config: pytest.Config) -> None:
    """Writes the run's page, where it has left anything. Does nothing in a worker of xdist."""
    output = output_folder(config, resolve(config))
    if is_worker(config) or not folders.is_of(output, run_id(config)):
        return
    try:
        attempts = run_results.write_index(output, config.rootpath.name)
        rows = [row for row in attempts if not row.superseded]
        config.stash[_ROWS] = rows
        github.write_step_summary(rows)
    except Exception:
        logging.getLogger(__name__).warning("the run's page could not be written", exc_info=True)


def lines(config: pytest.Config) -> list[str]:
    """What the terminal says of it."""
    rows = config.stash.get(_ROWS, [])
    if not rows:
        return []
    page = output_folder(config, resolve(config)) / folders.INDEX
    failed = sum(row.verdict == "failed" for row in rows)
    noun = "test" if len(rows) == 1 else "tests"
    said = f"agent-sandbox: {failed} of {len(rows)} sandbox {noun} failed: {_shown(page)}"
    return [said, *github.workflow_commands(rows, config.rootpath)]


def _shown(page: Path) -> str:
    try:
        return str(page.relative_to(Path.cwd()))
    except ValueError:
        return str(page)
