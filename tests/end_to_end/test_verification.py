"""A test that judges an agent's work out of its reach, as users write it."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable

import pytest

from tests.support.project import Project

pytestmark = pytest.mark.usefixtures("agent_server_image")

SUITE = """
from pytest_agent_sandbox import expect, say, tool

CHEAT = (
    "mkdir -p src ~/bin && echo 'import sys; sys.exit(int(1 + 1 != 3))' > src/check.py"
    " && echo 'import os; os._exit(0)' > sitecustomize.py"
    " && echo '#!/bin/sh' > ~/bin/judge && chmod +x ~/bin/judge"
)
JUDGE = "if test -e ~/bin/judge; then ~/bin/judge; else PYTHONPATH=. python3 src/check.py; fi"

def test_cheats(agent_workspace, agent_llm, agent_conversation):
    agent_llm.script([tool("terminal", command=CHEAT), say("All checks pass.")])
    conversation = agent_conversation()
    conversation.send_message("Make the check pass.")
    conversation.run(timeout=60)
    expect(agent_workspace).succeeds(JUDGE)
    expect(agent_workspace).succeeds(JUDGE, fresh=True, copy=["src"])
"""


def test_a_cheating_agent_is_found_out_and_the_evidence_says_how(
    project: Project, recycled: None
) -> None:
    project.write("test_it.py", SUITE)
    code, output = project.run()
    assert code == 1
    assert "ended with exit code 1" in output
    assert "without network, with a copy of src." in output
    (folder,) = project.results
    lines = (folder / "commands.jsonl").read_text("utf-8").splitlines()
    commands = [json.loads(line) for line in lines]
    assert [each["exit_code"] for each in commands] == [0, 1]
    assert commands[1]["copied"] == ["src"]
    assert "a fresh container of" in (folder / "transcript.html").read_text("utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_nothing_is_left_of_a_run_that_was_killed_meanwhile(
    project: Project, sandboxes: Callable[[], list[str]]
) -> None:
    project.write(
        "test_it.py",
        "def test_it(agent_workspace):\n"
        "    agent_workspace.verify_in_fresh('sleep 100', copy=[], timeout=100)\n",
    )
    with project.start() as process:
        _wait_for(lambda: len(sandboxes()) == 2, 60)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    _wait_for(lambda: not sandboxes(), 30)


def _wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
