"""Processes that are stopped for a while, as by Ctrl-Z or a machine that sleeps, and go on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from pytest_agent_sandbox.containers import watcher_process
from tests.support.project import Project
from tests.support.timing import eventually

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")

#: Longer than the watcher waits between two looks at the process that it watches.
PAUSE = 2.5

SUITE = """
import time
from pathlib import Path

def test_it(agent_workspace):
    Path("begun").write_text(agent_workspace.container.name)
    deadline = time.monotonic() + 60
    while not Path("go").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert agent_workspace.execute_command("echo still here").stdout == "still here\\n"
"""


def watcher_of(process: psutil.Process) -> psutil.Process:
    file = str(Path(watcher_process.__file__))
    (found,) = [child for child in process.children() if file in child.cmdline()]
    return found


@pytest.mark.usefixtures("agent_server_image")
def test_a_living_sandbox_stays_and_a_stopped_watcher_does_not_hold_up_the_end(
    project: Project, sandboxes
) -> None:
    """One after the other, so that a sandbox is started once: pytest, its watcher, both."""
    project.write("test_it.py", SUITE)
    with project.start() as process:
        try:
            eventually((project.folder / "begun").exists, timeout=120)
            name = (project.folder / "begun").read_text()
            running = psutil.Process(process.pid)
            watcher = watcher_of(running)
            for stopped in ([running], [watcher], [running, watcher]):
                for one in stopped:
                    one.send_signal(signal.SIGSTOP)
                time.sleep(PAUSE)
                assert name in sandboxes(), stopped
                for one in reversed(stopped):
                    one.send_signal(signal.SIGCONT)
                time.sleep(PAUSE)
                assert name in sandboxes(), stopped
            watcher.send_signal(signal.SIGSTOP)
            project.write("go", "")
            began = time.monotonic()
            output, _ = process.communicate(timeout=60)
            assert time.monotonic() - began < 30
        finally:
            process.kill()
    assert process.returncode == 0, output
    assert sandboxes() == []
    assert not watcher.is_running()
