"""Files that are in a sandbox before its server starts."""

from __future__ import annotations

import pytest

from tests.support.project import Project

pytestmark = pytest.mark.usefixtures("agent_server_image")

SUITE = """
import pytest

FILES = [
    "kit:/workspace/project/kit",
    "kit/run.sh:/opt/new/place/",
    "kit/run.sh:/etc/run.sh",
]

def sh(workspace, command):
    return workspace.execute_command(command).check().stdout

@pytest.mark.agent_sandbox(files=FILES)
def test_they_are_there_and_the_agents_own(agent_workspace):
    assert sh(agent_workspace, "kit/run.sh && /opt/new/place/run.sh") == "ran\\nran\\n"
    owners = "stat -c %U kit kit/run.sh . /opt/new /opt/new/place /etc/run.sh /etc /opt"
    user = sh(agent_workspace, "id -un").strip()
    assert sh(agent_workspace, owners).split() == [user] * 6 + ["root"] * 2
    agent_workspace.write_text("kit/more.txt", "x")
    # Older than the server's process.
    assert sh(agent_workspace, "test kit/run.sh -ot /proc/self && echo older") == "older\\n"

@pytest.mark.agent_sandbox(files=FILES[:1], user="1234:1234")
def test_another_user(agent_workspace):
    assert sh(agent_workspace, "stat -c %u:%g kit .; id -u").split() == ["1234:1234"] * 2 + ["1234"]

def test_none(agent_workspace):
    assert sh(agent_workspace, "ls; ls /opt") .split() == ["agent-sandbox"]

@pytest.mark.agent_sandbox(files=FILES, security="strict")
def test_strict(agent_workspace): pass

@pytest.mark.agent_sandbox(files=["gone:/x"])
def test_gone(agent_workspace): pass
"""


def test_files_before_the_start(project: Project) -> None:
    project.write("kit/run.sh", "#!/bin/sh\necho ran\n")
    (project.folder / "kit/run.sh").chmod(0o755)
    project.write("test_it.py", SUITE)
    _, output = project.run("--sandbox-isolation=recycled", "-rN")
    assert "3 passed, 2 errors" in output
    assert "SettingsError: files: security = strict has folders in memory only" in output
    assert "SettingsError: files: 'gone:/x': gone cannot be read: No such file" in output
