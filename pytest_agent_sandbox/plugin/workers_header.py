"""The header of a run with xdist workers: the first one tells it, their controller shows it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress

import pytest

_IS_SHOWN = pytest.StashKey[bool]()


def tell(config: pytest.Config, lines: Sequence[str]) -> None:
    """Hand the header to the controller, before that hears that the tests are collected."""
    from pytest_agent_sandbox.errors import SandboxError
    from pytest_agent_sandbox.plugin.pytest_run import header_file

    with suppress(OSError, SandboxError):  # tests run without a header too
        header_file(config).write_text(json.dumps(lines), "utf-8")


def show(config: pytest.Config) -> None:
    """Show the header, once it was told."""
    from pytest_agent_sandbox.plugin.pytest_run import told_header

    file = None if config.stash.get(_IS_SHOWN, False) else told_header(config)
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if file is None or terminal is None:
        return
    config.stash[_IS_SHOWN] = True
    if terminal.isatty:  # xdist counts there, in a line that it writes again and again
        terminal.rewrite("", erase=True)
        terminal.write("\r")
    terminal.ensure_newline()
    with suppress(OSError, ValueError):
        for line in json.loads(file.read_text("utf-8")):
            terminal.write_line(line)
