"""Whatever a server has started ends with it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from pytest_agent_sandbox.engines.process.server import ServerProcess

#: Its environment, and so its mark, is gone; its child does not end when it is asked to.
UNMARKED = """
import os, subprocess, sys
if "A" in os.environ:
    os.execve(sys.executable, sys.orig_argv, {})
child = subprocess.Popen([sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True);"
    "time.sleep(600)"])
print("child", child.pid, flush=True)
child.wait()
"""


@pytest.mark.skipif(os.name == "nt", reason="it is of POSIX's signals")
def test_a_child_of_a_process_without_the_mark(tmp_path: Path):
    log = tmp_path / "log"
    with ServerProcess(
        [sys.executable, "-c", UNMARKED],
        environment={"A": "b"},
        folder=tmp_path,
        mark=tmp_path.name,
        log_path=log,
    ):
        end = time.monotonic() + 20
        while "up" not in log.read_text() and time.monotonic() < end:
            time.sleep(0.05)
        words = log.read_text().split()
        child = psutil.Process(int(words[words.index("child") + 1]))
        assert child.is_running()
    child.wait(2)
    assert not child.is_running()
