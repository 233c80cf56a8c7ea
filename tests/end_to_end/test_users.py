"""Sandboxes whose user is another than the image expects."""

from __future__ import annotations

import pytest

from tests.support.project import Project

pytestmark = pytest.mark.usefixtures("agent_server_image")

SUITE = """
import pytest
from pytest_agent_sandbox import say, tool

@pytest.fixture(autouse=True)
def talk(request):
    if "agent_conversation" not in request.fixturenames:
        return
    get = request.getfixturevalue
    workspace, llm = get("agent_workspace"), get("agent_llm")
    workspace.write_text("a.txt", "hello")
    llm.script([tool("terminal", command="cp a.txt b.txt && touch ~/c.txt"), say("Done.")])
    conversation = get("agent_conversation")()
    conversation.send_message("Copy it.")
    conversation.run(timeout=60)
    assert conversation.status == "finished"
    assert workspace.read_text("b.txt") == "hello"
    assert workspace.execute_command("test -f ~/c.txt; git init -q").exit_code == 0

def who(workspace):
    return workspace.execute_command("id -u; id -g; echo $HOME").stdout.split()

@pytest.mark.agent_sandbox(user="1234:1235")
def test_numbers(agent_workspace, agent_conversation):
    assert who(agent_workspace) == ["1234", "1235", "/home/1234"]

@pytest.mark.agent_sandbox(user="nobody", isolation="recycled", working_dir="/data/x")
def test_a_name_in_memory(agent_workspace, agent_conversation):
    assert who(agent_workspace) == ["65534", "65534", "/home/65534"]

@pytest.mark.agent_sandbox(user="1234", security="strict")
def test_a_number_in_memory(agent_workspace, agent_conversation):
    assert who(agent_workspace) == ["1234", "0", "/home/1234"]

@pytest.mark.agent_sandbox(user="root", volumes=["{folder}:/workspace/project"])
def test_root_and_a_folder_of_the_host(agent_workspace):
    assert who(agent_workspace) == ["0", "0", "/root"]
    assert agent_workspace.execute_command("stat -c %u .").stdout.strip() == "{owner}"

@pytest.mark.agent_sandbox(user="bob")
def test_a_name_that_the_image_does_not_know(agent_workspace): pass
"""


def test_users(project: Project) -> None:
    folder = project.folder / "mine"
    folder.mkdir()
    folder.chmod(0o777)
    owner = folder.stat().st_uid
    text = SUITE.replace("{folder}", folder.as_posix()).replace("{owner}", str(owner))
    project.write("test_it.py", text)
    _, output = project.run("-rN")
    assert "4 passed, 1 error" in output
    assert "SettingsError: user: 'bob': the image" in output
    assert "openhands" in output
