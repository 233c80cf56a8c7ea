"""Agent servers without containers: processes, here of a machine that is a container itself."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import PYTHON

SUITE = """
import os
import pytest
from pytest_agent_sandbox import expect, say, tool

@pytest.mark.parametrize("word", ["a", "b"])
def test_word(word, agent_workspace, agent_llm, agent_conversation):
    agent_llm.script([
        tool("terminal", command=f"echo {word} > OUT.txt; sleep 600 & env"), say("Done."),
    ])
    conversation = agent_conversation()
    conversation.send_message("Write it.")
    conversation.run(timeout=60)
    (call,) = conversation.events.tool_calls("terminal")
    assert "not-for-agents" not in call.result
    assert "not-for-agents" not in agent_workspace.execute_command("env").stdout
    expect(agent_workspace).changed_files({"OUT.txt": "added"})
    assert word == "a", "the word is another"

def test_dies(agent_workspace):
    agent_workspace.execute_command("pkill -KILL -f openhands.agent_server", timeout=20)
    agent_workspace.execute_command("sleep 20", timeout=30)
"""

#: A run that is killed in the middle of a test.
KILLED = """
import os, signal

def test_it(agent_workspace):
    agent_workspace.execute_command("tmux new -d 'sleep 1000'; (sleep 1000 &)")
    os.kill(os.getpid(), signal.SIGKILL)
"""

#: Runs pytest, then says what is left of its processes and folders.
AND_LEFT = """
import os, subprocess, sys, time
code = subprocess.run([sys.executable, "-m", "pytest", "-p", "pytest_agent_sandbox.plugin", "-p",
    "no:cacheprovider", *sys.argv[1:]]).returncode
deadline = time.monotonic() + 20
while time.monotonic() < deadline:
    running = [open(f"/proc/{p}/cmdline").read() for p in os.listdir("/proc") if p.isdigit()
               and os.path.exists(f"/proc/{p}/cmdline") and int(p) not in (1, os.getpid())]
    running = [line.replace("\\0", " ") for line in running if line and "and_left" not in line]
    folders = [name for name in os.listdir("/tmp") if name.startswith("agent-sandbox")]
    if not running and not folders:
        break
    time.sleep(0.2)
print("LEFT:", running, folders)
sys.exit(0 if code < 0 else code)
"""


def test_the_same_tests_without_containers(with_openhands, project_folder):
    code, output = with_openhands(
        "and_left.py",
        "--sandbox-engine=process",
        "-v",
        files={"test_it.py": SUITE, "and_left.py": AND_LEFT},
        environment={"LLM_API_KEY": "not-for-agents", "SOME_TOKEN": "not-for-agents"},
    )
    assert code == 1
    assert "2 failed, 1 passed" in output
    assert "on processes of this machine (agent server 1.58.0, " in output
    assert "nothing is isolated" in output
    assert "the word is another" in output
    assert "SandboxDied: The agent server's process has ended with exit code 137" in output
    assert "LEFT: [] []" in output
    folders = {
        path.name: path for path in (project_folder / "agent-results").iterdir() if path.is_dir()
    }
    failed = next(path for name, path in folders.items() if "test_word" in name)
    log = (failed / "container.log").read_text("utf-8")
    assert "Uvicorn running" in log or "Application startup complete" in log
    (sandbox,) = json.loads((failed / "result.json").read_text("utf-8"))["sandboxes"]
    assert sandbox["isolation"] == "none: no container"


#: The program stands in for Apptainer: see tests/support/fake_apptainer.py.
IN_APPTAINER = """
import os
import pytest
from pytest_agent_sandbox import ApptainerWorkspace, say, tool

@pytest.fixture
def ws():
    with ApptainerWorkspace(
        server_image="an/image:1", cache_dir="/tmp/images", working_dir="/tmp/in-there",
        forward_env=["FORWARDED"],
    ) as workspace:
        yield workspace

@pytest.mark.parametrize("number", [1, 2])
def test_it(ws, number, agent_conversation):
    conversation = agent_conversation(workspace=ws, script=[
        tool("terminal", command="echo written > OUT.txt; sleep 600 & env"), say("Done."),
    ])
    conversation.send_message("Write it.")
    conversation.run(timeout=60)
    (call,) = conversation.events.tool_calls("terminal")
    assert "FORWARDED=yes" in call.result
    assert "not-for-agents" not in call.result
    assert ws.api_key.get_secret_value() not in call.result
    assert ws.read_text("OUT.txt") == "written\\n"
    with pytest.raises(Exception, match="cannot be paused"):
        ws.pause()
"""


def test_the_server_in_apptainer(with_openhands):
    fake = (Path(__file__).parents[1] / "support" / "fake_apptainer.py").read_text("utf-8")
    start = """
import os, sys
os.chmod("/project/apptainer", 0o755)
os.execv(sys.executable, [sys.executable, "and_left.py", *sys.argv[1:]])
"""
    code, output = with_openhands(
        "start.py",
        "-v",
        "--sandbox-engine=process",  # no other engine answers there
        files={
            "apptainer": f"#!{PYTHON}\n{fake}",
            "start.py": start,
            "and_left.py": AND_LEFT,
            "test_it.py": IN_APPTAINER,
        },
        environment={
            "PATH": "/project:/usr/local/bin:/usr/bin:/bin",
            "APPTAINER_CALLS": "/project/calls",
            "SOME_TOKEN": "not-for-agents",
            "FORWARDED": "yes",
        },
    )
    assert "2 passed" in output, output
    assert code == 0
    assert "LEFT: [] []" in output


def test_nothing_outlives_a_run_that_is_killed(with_openhands):
    _, output = with_openhands(
        "and_left.py",
        "--sandbox-engine=process",
        files={"test_it.py": KILLED, "and_left.py": AND_LEFT},
    )
    assert "LEFT: [] []" in output


def test_a_server_that_does_not_start(with_openhands):
    code, output = with_openhands(
        *("-m", "pytest", "-p", "pytest_agent_sandbox.plugin", "-p", "no:cacheprovider"),
        *("--sandbox-engine=process", "--sandbox-start-timeout=20"),
        files={
            "test_it.py": "def test_it(agent_workspace): ...\n",
            # Found by the server's Python, for its folder is not: a broken installation.
            "conftest.py": "import pytest_agent_sandbox.engines.process.engine as it\n"
            "it.ProcessEngine._command = lambda self, port: "
            "[self.python, '-c', 'print(\"no such thing\"); raise SystemExit(3)']\n",
        },
    )
    assert code == 1
    assert "SandboxStartFailed: The agent server's process ended with exit code 3" in output
    assert "no such thing" in output


def test_what_cannot_be(project_of_tests):
    run = project_of_tests
    for options, problem in (
        (["--sandbox-engine=process"], "which has no such package"),
        (["--sandbox-engine=process", "--sandbox-python=/no/python"], "/no/python, which has no"),
        (["--sandbox-engine=process", "--sandbox-network=isolated"], "is not supported with"),
        (["--sandbox-engine=process", "--sandbox-url=http://127.0.0.1:1"], "leave one of both out"),
        (["--sandbox-engine=podman"], "docker, kubernetes, process"),
    ):
        code, output = run(*options)
        assert code != 0
        assert problem in output
        assert "INTERNALERROR" not in output
