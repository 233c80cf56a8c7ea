"""The conversation that is timed: the one of examples/test_facts.py."""

from __future__ import annotations

from pytest_agent_sandbox import DockerWorkspace, RemoteConversation, say, tool

_FACTS = "It is called demo.\nIt has one file.\nIt has no tests.\n"

SCRIPT = [
    tool("terminal", command="cat README.md"),
    tool(
        "file_editor",
        command="create",
        path="/workspace/project/FACTS.txt",
        file_text=_FACTS,
    ),
    say("FACTS.txt holds three facts about the project."),
    tool("terminal", command="rm FACTS.txt"),
    say("FACTS.txt is gone."),
]


def talk(workspace: DockerWorkspace, conversation: RemoteConversation) -> None:
    """Two messages, three tool calls, and a look at what came of them."""
    workspace.write_text("README.md", "# demo\n")
    conversation.send_message("Read the repo and write 3 facts about it into FACTS.txt.")
    conversation.run(timeout=120)
    assert conversation.status == "finished"
    assert workspace.read_text("FACTS.txt") == _FACTS
    conversation.send_message("Great! Now delete that file.")
    conversation.run(timeout=120)
    assert conversation.status == "finished"
    assert workspace.execute_command("test -e FACTS.txt").exit_code == 1
