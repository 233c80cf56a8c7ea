"""Sandboxes that people look into: of a failed test that is held, and those kept after the run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pytest_agent_sandbox.engines.engine import EngineContext
from pytest_agent_sandbox.engines.registry import make_engine
from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.plugin.options import resolve
from pytest_agent_sandbox.plugin.pytest_run import run_id
from pytest_agent_sandbox.plugin.session import SandboxSession


def check_terminal(config: pytest.Config) -> None:
    """Refuse to hold tests where nobody could let them go on.

    Raises:
        pytest.UsageError: There is no terminal to press Enter in.
    """
    with _uncaptured(config):
        is_terminal = sys.stdin is not None and sys.stdin.isatty()
    if config.getoption("numprocesses", None) or not is_terminal:
        raise pytest.UsageError(
            "--sandbox-pause-on-failure waits for Enter, but standard input is no terminal, or "
            "there are several workers: run it in a terminal without -n, or use "
            "--sandbox-keep=failed, which leaves the sandboxes of failed tests running"
        )


def hold(
    run: SandboxSession,
    item: pytest.Item,
    report: pytest.CollectReport | pytest.TestReport,
    *,
    is_debugged: bool,
) -> None:
    """Show how to look into a failed test's sandboxes; wait for Enter unless a debugger does.

    Args:
        run: What the run shares.
        item: The test.
        report: Of its failure.
        is_debugged: Whether pytest's debugger comes next, which shows the failure and waits.
    """
    lines = list(_ways_into(run, item))
    terminal: Any = item.config.pluginmanager.get_plugin("terminalreporter")
    if not lines or terminal is None:
        return
    with _uncaptured(item.config):
        terminal.ensure_newline()
        if not is_debugged:
            terminal.section("held for you to look inside")
            terminal.write_line(report.longreprtext)
        for line in lines:
            terminal.write_line(line)
        if not is_debugged:
            _wait_for_enter(item)


@contextmanager
def _uncaptured(config: pytest.Config) -> Iterator[None]:
    """Give back the terminal, standard input too, which pytest's capturing holds."""
    capture = config.pluginmanager.get_plugin("capturemanager")
    if capture is None:
        yield
        return
    with capture.global_and_fixture_disabled():
        capture.suspend_global_capture(in_=True)
        try:
            yield
        finally:
            # Only all of it can be resumed (pytest 9.2); output stays as it was, not captured.
            capture.resume_global_capture()
            capture.suspend_global_capture(in_=False)


def kept_lines(config: pytest.Config, run: SandboxSession | None) -> list[str]:
    """Return what the terminal says of the sandboxes that stay after the run.

    Args:
        config: pytest's.
        run: What this process's tests share; None where only workers have run any.
    """
    try:
        if run is not None:
            lines = run.engine.kept()
        else:
            context = EngineContext(settings=resolve(config), run=run_id(config))
            with make_engine(context) as engine:
                lines = engine.kept()
    except SandboxError:  # the tests have said so already
        return []
    return [f"agent-sandbox: {lines[0]}", *lines[1:]] if lines else []


def _ways_into(run: SandboxSession, item: pytest.Item) -> Iterator[str]:
    for workspace in run.uses.open():
        yield f"the sandbox of {item.nodeid}:"
        try:
            yield from workspace.ways_in()
        except SandboxError as error:
            yield f"  {error}"


def _wait_for_enter(item: pytest.Item) -> None:
    # A person takes longer than any test may: pytest-timeout would end what is held.
    cancel_timeout = getattr(item.config.hook, "pytest_timeout_cancel_timer", None)
    if cancel_timeout is not None:
        cancel_timeout(item=item)
    try:
        input("agent-sandbox: press Enter to go on. ")
    except EOFError:  # the terminal is gone
        return
