"""What conversations, workspaces and the LLM of a real test say of themselves."""

import re

import pytest

from tests.test_reprs import SECRET, TESTS


@pytest.mark.usefixtures("served")
def test_what_they_say(project):
    project.write("test_it.py", TESTS)
    code, output = project.run("-s", "-p", "no:randomly")
    assert code == 0
    shown = [line.partition("REPR ")[2] for line in output.splitlines() if "REPR " in line]
    key = re.search("KEY (.+)", output)[1]
    assert not [line for line in shown if key in line or SECRET in line]
    llm, new, ended, workspace, used, conversations, workspaces, closed = shown
    assert llm == "<AgentLLM: unused, calls: 0>"
    assert used == "<AgentLLM: scripted, calls: 1>"
    assert re.fullmatch(r"<RemoteConversation [\w-]{36}: (new|idle), events: \d+>", new)
    assert re.fullmatch(r"<RemoteConversation [\w-]{36}: finished, events: \d+>", ended)
    assert "closed" in closed
    assert re.fullmatch(r"<ServedWorkspace \S+: /\S+>", workspace)
    assert conversations == "<ConversationFactory, conversations: 1>"
    assert workspaces == "<WorkspaceFactory, workspaces: 1>"
