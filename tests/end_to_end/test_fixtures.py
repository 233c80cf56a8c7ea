"""The fixtures beside `agent_workspace`, used as a suite uses them."""

import pytest

pytestmark = pytest.mark.usefixtures("agent_server_image")

SUITE = """
import dataclasses
import pytest
from pytest_agent_sandbox import RemoteConversation, say, tool

def inspect(workspace):
    return workspace.engine.client.api.inspect_container(workspace.container.id)["HostConfig"]

names = set()

def test_shared_one(shared_agent_workspace):
    names.add(shared_agent_workspace.container.name)
    shared_agent_workspace.write_text("left.txt", "from one")

def test_shared_two(shared_agent_workspace, agent_conversation):
    names.add(shared_agent_workspace.container.name)
    assert len(names) == 1
    assert shared_agent_workspace.read_text("left.txt") == "from one"
    conversation = agent_conversation(script=[tool("terminal", command="pwd"), say("ok")])
    assert isinstance(conversation, RemoteConversation)
    conversation.send_message("Go.")
    conversation.run(timeout=60)
    running = shared_agent_workspace.engine.client.containers.list(
        filters={"label": f"pytest-agent-sandbox.test=test_it.py::test_shared_two"}
    )
    assert running == [], "it needs no workspace of its own"
    assert 0, "to see its evidence"

def test_factory(agent_workspace_factory):
    one = agent_workspace_factory(memory="1g")
    two = agent_workspace_factory(memory="2g", pids=200)
    assert one.container.name != two.container.name
    assert inspect(one)["Memory"] == 2**30
    assert (inspect(two)["Memory"], inspect(two)["PidsLimit"]) == (2**31, 200)

@pytest.mark.agent_sandbox(cpus=1.25)
class TestMarker:
    @pytest.mark.agent_sandbox(memory="1500m")
    def test_marker(self, agent_workspace):
        host = inspect(agent_workspace)
        assert (host["Memory"], host["NanoCpus"]) == (1500 * 2**20, 1_250_000_000)
        check_settings_of_the_conftest(agent_workspace)

def test_settings_of_the_conftest(shared_agent_workspace, sandbox_settings):
    assert sandbox_settings.pids == 333
    check_settings_of_the_conftest(shared_agent_workspace)

def check_settings_of_the_conftest(workspace):
    assert inspect(workspace)["PidsLimit"] == 333
    assert workspace.working_dir == "/workspace/elsewhere"
    assert workspace.execute_command("pwd").stdout == "/workspace/elsewhere\\n"
"""

CONFTEST = """
import dataclasses
import pytest

@pytest.fixture(scope="session")
def sandbox_settings(sandbox_settings):
    return dataclasses.replace(sandbox_settings, pids=333, working_dir="/workspace/elsewhere")
"""


def test_a_suite(project):
    project.write("conftest.py", CONFTEST)
    project.write("test_it.py", SUITE)
    code, output = project.run("-v")
    assert code == 1
    assert "5 passed" not in output
    assert "1 failed, 4 passed" in output
    assert "to see its evidence" in output
    (folder,) = project.results
    assert {path.name for path in folder.iterdir()} >= {"container.log", "events.jsonl"}


def test_an_image_of_the_suites_own(project):
    project.write(
        "conftest.py",
        "import pytest\n"
        "@pytest.fixture(scope='session')\n"
        "def sandbox_image():\n"
        "    return 'no-such-image:of-the-suite'\n",
    )
    project.write("test_it.py", "def test_x(agent_workspace): pass")
    _, output = project.run("--sandbox-pull=never")
    assert "no-such-image:of-the-suite" in output


def test_a_shared_workspace_is_not_recorded(project, agent_server_image):
    project.write("test_it.py", "def test_it(shared_agent_workspace): pass\n")
    code, output = project.run("--sandbox-video=failed")  # the image has no desktop
    assert code == 0, output
