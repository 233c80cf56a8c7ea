"""Page of a run's results, written at its end, and where people are told of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_agent_sandbox.evidence import folders, results_table
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.plugin.options import resolve
from pytest_agent_sandbox.plugin.pytest_run import is_worker, output_folder, run_id, wanted_folder
from pytest_agent_sandbox.plugin.report import github_actions

if TYPE_CHECKING:
    from pytest_agent_sandbox.evidence.story import Row

logger = seldom.logger(__name__)
_ROWS: pytest.StashKey[list[Row]] = pytest.StashKey()
#: Why the run's results are not where they should be.
_TROUBLE = pytest.StashKey[str]()


def write(config: pytest.Config, *, has_lost_output: bool = False) -> None:
    """Write the run's page, where it has left anything. Do nothing in a worker of xdist.

    Args:
        config: pytest's.
        has_lost_output: Whether another run has taken the output folder.
    """
    output = output_folder(config, resolve(config))
    try:
        if is_worker(config):
            return
        if not folders.is_of(output, run_id(config)):
            if has_lost_output:
                config.stash[_TROUBLE] = (
                    f"another run of pytest has taken over {output}, and this run's results with "
                    "it; give each run its own folder, with --sandbox-output"
                )
            return
        attempts = results_table.write_index(output, config.rootpath.name)
        rows = [row for row in attempts if not row.superseded]
        config.stash[_ROWS] = rows
        github_actions.write_step_summary(rows)
    except Exception as error:
        logger.warning("the run's results could not be written", exc_info=True)
        config.stash[_TROUBLE] = f"the run's results could not be written: {error}"


def lines(config: pytest.Config) -> list[str]:
    """Return what the terminal says of it."""
    rows = config.stash.get(_ROWS, [])
    trouble = config.stash.get(_TROUBLE, "")
    told = [f"agent-sandbox: {trouble}"] if trouble else []
    wanted, taken = wanted_folder(config, resolve(config)), output_folder(config, resolve(config))
    if rows and taken != wanted:
        told.append(
            f"agent-sandbox: another run of pytest was using {wanted.name}, so this one's results "
            f"are in {taken.name}; --sandbox-output names a folder for each"
        )
    if not rows:
        return told
    page = output_folder(config, resolve(config)) / folders.INDEX
    failed = sum(row.has_failed for row in rows)
    noun = "test" if len(rows) == 1 else "tests"
    said = f"agent-sandbox: {failed} of {len(rows)} sandbox {noun} failed"
    unfinished = sum(row.verdict == "running" for row in rows)
    if unfinished:
        said += f", {unfinished} did not come to {'its' if unfinished == 1 else 'their'} end"
    shown = _shown(page, config.invocation_params.dir)
    return [f"{said}: {shown}", *told, *github_actions.workflow_commands(rows, config.rootpath)]


def _shown(page: Path, seen_from: Path) -> str:
    # Not from the working directory: a test may have changed it, or removed it.
    try:
        return str(page.relative_to(seen_from))
    except ValueError:
        return str(page)
