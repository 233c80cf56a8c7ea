"""Whatever tests, users and sandboxes do: the run goes on, and nothing is lost or hidden."""

import pytest

SUITE = """
import os, shutil, time
import pytest
from pytest_agent_sandbox import say, tool

def start(agent_conversation, **options):
    conversation = agent_conversation(
        script=[tool("terminal", command=f"echo n{number}") for number in range(3)] + [say("ok")],
        **options,
    )
    conversation.send_message("Go.")
    return conversation

def test_a_paused_sandbox(agent_workspace):
    agent_workspace.write_text("there.txt", "x")
    agent_workspace.pause()
    assert 0

def test_the_folder_is_gone(agent_workspace):
    shutil.rmtree("agent-results")
    assert 0

def test_a_callback_fails(agent_conversation):
    def callback(event):
        assert "n1" not in str(event), "seen n1"
    conversation = start(agent_conversation, callbacks=[callback])
    conversation.run(blocking=False)
    while conversation.status != "finished":
        time.sleep(0.05)

def test_a_slow_callback(agent_conversation):
    conversation = start(agent_conversation, callbacks=[lambda event: time.sleep(0.3)])
    conversation.run(blocking=False)
    while conversation.status != "finished":
        time.sleep(0.05)
    assert 0, "slow"

def test_a_fork_and_a_late_secret(agent_conversation):
    conversation = start(agent_conversation)
    conversation.run(timeout=60)
    conversation.update_secrets({"LATE": "late-secret-value"})
    conversation.fork()
    conversation.send_message("late-secret-value")
    assert 0, "fork late-secret-value"

@pytest.fixture
def of_the_user(agent_workspace_factory):
    return agent_workspace_factory(memory="bad")

def test_a_fixture_of_the_user_fails(of_the_user):
    pass

@pytest.mark.agent_sandbox(output="elsewhere")
def test_a_setting_of_the_run(agent_workspace):
    pass

def test_subtests(agent_workspace, subtests):
    with subtests.test("one"):
        assert 0, "in a subtest"

def test_last(agent_workspace):
    assert agent_workspace.alive()
"""


@pytest.mark.usefixtures("agent_server_image")
@pytest.mark.usefixtures("recycled")
def test_a_suite_full_of_trouble(project):
    project.write("pytest.ini", "[pytest]\nsandbox_live = false\n")
    project.write("test_it.py", SUITE)
    code, output = project.run("-v", "-rA", "-p", "no:rerunfailures")
    assert code == 1
    assert "INTERNALERROR" not in output
    assert "test_it.py::test_last PASSED" in output
    names = ["a_paused_sandbox", "the_folder_is_gone", "a_callback_fails", "a_slow_callback"]
    for name in names:
        assert f"test_it.py::test_{name} FAILED" in output
    assert "could not be kept" in output
    assert "seen n1" in output
    assert "return agent_workspace_factory(memory=" in output, "the user's own line"
    assert "'output' can only be set for the whole run" in output
    folders = {folder.name.rpartition("-")[0]: folder for folder in project.results}
    slow = folders["test_it-test_a_slow_callback"]
    assert all(f"echo n{number}" in (slow / "events.jsonl").read_text() for number in range(3))
    assert "in a subtest" in output
    assert "test_it-test_subtests" in folders
    fork = folders["test_it-test_a_fork_and_a_late_secret"]
    assert "late-secret-value" not in (fork / "events.jsonl").read_text()


@pytest.mark.usefixtures("agent_server_image")
def test_a_session_that_begins_in_a_test(project):
    project.write(
        "test_it.py",
        "def test_x(request): request.getfixturevalue('sandbox_settings')\n"
        "def test_y(request):\n    request.getfixturevalue('agent_workspace')\n    assert 0\n",
    )
    code, output = project.run()
    assert code == 1
    assert "INTERNALERROR" not in output
    assert "1 failed, 1 passed" in output


def test_without_the_terminal_plugin(project, served):
    project.write("test_it.py", "def test_x(agent_workspace): assert 0")
    code, output = project.run("-p", "no:terminal")
    assert code == 1
    assert "INTERNALERROR" not in output
    assert len(project.results) == 1


def test_a_wrong_value_under_xdist_is_one_message(project):
    project.environment["PYTEST_SANDBOX_MEMORY"] = "oops"
    project.write("test_it.py", "def test_x(agent_workspace): pass")
    code, output = project.run("-n", "2")
    assert code != 0
    assert "PYTEST_SANDBOX_MEMORY=oops: must be a size" in output
    assert "INTERNALERROR" not in output


@pytest.mark.usefixtures("agent_server_image")
def test_a_run_without_sandboxes_keeps_earlier_evidence(project):
    project.write("test_it.py", "def test_x(sandbox_image): assert 0")
    project.run()
    assert len(project.results) == 1
    project.write("test_it.py", "def test_x(): pass")
    project.run("-n", "1")
    assert len(project.results) == 1
