"""Expectations and snapshots of a real agent, as a user sees them hold and fail."""

import pytest

TALK = """
import re
import pytest
from pytest_agent_sandbox import expect, say, tool, trajectory

@pytest.fixture
def talk(agent_workspace, agent_llm, agent_conversation):
    agent_workspace.write_text("LICENSE", "MIT")
    agent_workspace.write_text("notes.txt", "one")
    agent_llm.script([
        tool("terminal", command="{command}"),
        tool("file_editor", command="create", path=f"{agent_workspace.working_dir}/new.txt",
             file_text="x"),
        say("Tidied up."),
    ])
    conversation = agent_conversation()
    conversation.send_message("Tidy up.")
    conversation.run(timeout=60)
    return conversation
"""

HOLDS = """
def test_holds(talk, agent_workspace):
    (
        expect(talk)
        .called_tool("terminal", command=re.compile("LICENSE"), times=1)
        .called_in_order("terminal", ("file_editor", {"command": "create"}))
        .never_called("browser_navigate")
        .at_most(steps=3, tool_calls=2, tokens=100_000)
        .said("Tidied")
        .finished()
        .has_no_errors()
    )
    (
        expect(agent_workspace)
        .changed_files({"LICENSE": "deleted", "notes.txt": "modified", "new.txt": "added"})
        .changed_files(["notes.txt", "LICENSE", "new.txt"])
        .succeeds("test ! -e LICENSE")
        .has_file("notes.txt", "three")
    )
    assert "tool: file_editor\\n" in trajectory(talk)

def test_never(talk):
    expect(talk).never_called("terminal", command=re.compile("rm"))

def test_changed(talk, agent_workspace):
    expect(agent_workspace).changed_files({"notes.txt": "added", "other.txt": "added"})

def test_succeeds(talk, agent_workspace):
    expect(agent_workspace).succeeds("echo much output; cat LICENSE")

def test_file(talk, agent_workspace):
    expect(agent_workspace).has_file("notes.txt", "four")

def test_no_file(talk, agent_workspace):
    expect(agent_workspace).has_file("LICENSE")

def test_no_snapshot(agent_workspace, agent_llm, agent_conversation):
    agent_llm.script([say("Done.")])
    agent_workspace.execute_command("git init -q && echo '[' >> .git/config").check()
    agent_conversation()
    agent_workspace.execute_command("rm -r .git && echo new > new.txt").check()
    conversation = agent_conversation()  # too late to see how the files were
    conversation.send_message("Go.")
    conversation.run(timeout=60)
    expect(agent_workspace).changed_files(["new.txt"])
"""

SNAPSHOT = """
def test_snapshot(talk, trajectory_snapshot):
    assert talk == trajectory_snapshot
"""


@pytest.fixture
def tidy(project):
    def write(tests, command="date; hostname -i; rm LICENSE; echo three >> notes.txt"):
        project.write("test_it.py", TALK.replace("{command}", command) + tests)

    return write


def test_expectations_of_a_real_agent(project, tidy, recycled):
    tidy(HOLDS)
    code, output = project.run("-v")
    assert code == 1
    assert "1 passed" in output
    assert "6 failed" in output
    assert "expected no terminal(command=/rm/)" in output
    assert (
        ">   1  terminal(command='date; hostname -i; rm LICENSE; echo three >> notes.txt'" in output
    )
    for line in (
        "other files changed than expected:",
        "LICENSE: deleted, which was not expected",
        "notes.txt: expected to be added, and was modified",
        "other.txt: expected to be added, and is as it was",
        "cat: LICENSE: No such file or directory",
        "expected 'four' in notes.txt; it holds: 'onethree'",
        "expected a file LICENSE, and there is none; files that changed: ",
        "cannot be told which files have changed: it is not known how they were before the agents",
        "(the workspace before the agents is not known; this is since the last commit: git failed",
    ):
        assert line in output
    # The report ends at the test's own line.
    assert "expectations/conversation.py" not in output
    assert output.count("fault: an assertion did not hold") == 5


def test_a_snapshot_is_the_same_in_another_sandbox(project, tidy, on_running_server):
    project.blocked.remove("syrupy")
    tidy(SNAPSHOT)
    project.environment |= on_running_server
    code, output = project.run()
    assert code == 1  # there is none yet
    for name in on_running_server:
        del project.environment[name]
    code, output = project.run("--snapshot-update")
    assert code == 0
    kept = (project.folder / "__snapshots__" / "test_it.trajectory").read_text("utf-8")
    for line in (
        "user: Tidy up.",
        "tool: terminal",
        "<date>",
        "agent: Tidied up.",
        "status: finished",
    ):
        assert line in kept
    assert "172." not in kept
    assert project.run("-n", "1")[0] == 0
    project.environment |= on_running_server
    tidy(SNAPSHOT, command="date; hostname -i; echo three >> notes.txt")
    code, output = project.run()
    assert code == 1
    assert "command: date; hostname -i; rm LICENSE; echo three >> notes.txt" in output
    assert "command: date; hostname -i; echo three >> notes.txt" in output


BESIDE = """
def test_both(talk, trajectory_snapshot, snapshot):
    assert talk == trajectory_snapshot
    assert {"a": 1} == snapshot
    assert {"b": 2} == snapshot
    assert talk == trajectory_snapshot
"""


def test_both_kinds_of_snapshots_in_a_test(project, tidy, served):
    project.blocked.remove("syrupy")
    tidy(BESIDE)
    code, output = project.run("--snapshot-update")
    assert code == 0
    code, output = project.run("--snapshot-details")
    assert code == 0
    assert "4 snapshots passed" in output
    assert "unused" not in output


def test_a_snapshot_is_of_a_conversation(project, served):
    project.write(
        "test_it.py",
        "def test_it(trajectory_snapshot):\n    assert 'text' == trajectory_snapshot\n",
    )
    project.blocked.remove("syrupy")
    code, output = project.run()
    assert code == 1
    assert "trajectory_snapshot takes a conversation, not str" in output
    project.blocked.append("syrupy")
    code, output = project.run()
    assert code == 1
    assert (
        "trajectory_snapshot needs syrupy: pip install 'pytest-agent-sandbox[snapshots]'" in output
    )
