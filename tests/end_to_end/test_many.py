"""Many sandboxes: one after the other, and on several workers at once."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.usefixtures("agent_server_image")

MANY = """
import pytest

@pytest.mark.parametrize("number", range(4))
def test_workspace(agent_workspace, number):
    result = agent_workspace.execute_command("ls; echo hello > file; cat file")
    assert (result.exit_code, result.stdout) == (0, "hello\\n")
"""


@pytest.mark.timeout(900)
def test_many_workspaces(project, sandboxes):
    project.write("test_it.py", MANY)
    before = set(sandboxes())
    code, output = project.run("-n", "2")
    assert code == 0
    assert "4 passed" in output
    assert set(sandboxes()) <= before


def test_no_thread_and_no_socket_is_left(project):
    project.write(
        "test_it.py",
        """
from pytest_agent_sandbox import say

def test_x(agent_workspace, agent_llm, agent_conversation):
    agent_llm.script([say("Hello.")])
    conversation = agent_conversation()
    conversation.send_message("Hi.")
    conversation.run(timeout=60)
""",
    )
    project.write(
        "run.py",
        """
import sys, threading, psutil, pytest

# pytest-rerunfailures keeps a server of its own.
code = pytest.main(["-q", "-pno:cacheprovider", "-pno:rerunfailures", "-pno:asyncio"])
threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
sockets = psutil.Process().net_connections("all")
print("LEFT", threads, [s for s in sockets if s.raddr or s.status == "LISTEN"])
sys.exit(code)
""",
    )
    result = subprocess.run(
        [sys.executable, "run.py"],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    print(result.stdout, result.stderr)
    assert result.returncode == 0
    assert "LEFT [] []" in result.stdout


SHARED = """
import pytest
from pytest_agent_sandbox import say, tool

counts = []

@pytest.mark.parametrize("number", range(6))
def test_talk(number, shared_agent_workspace, agent_llm, agent_conversation):
    agent_llm.script([tool("terminal", command="true"), say("Done.")])
    conversation = agent_conversation()
    conversation.send_message("Go.")
    conversation.run(timeout=60)
    found = shared_agent_workspace.execute_command("cat /proc/[0-9]*/status | grep -c ^Pid:")
    counts.append(int(found.stdout))

def test_the_processes_of_conversations_are_gone():
    # Left alone, each adds two; the last ones may take a moment to go.
    assert counts[-1] <= counts[0] + 6, counts
"""


def test_conversations_in_a_shared_workspace_leave_no_processes(project):
    """Each has a terminal, which lives as long as its server knows the conversation."""
    project.write("test_it.py", SHARED)
    code, output = project.run()
    assert code == 0
    assert "7 passed" in output
