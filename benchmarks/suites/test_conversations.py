"""Tests as people write them: an agent reads, writes and deletes, its LLM a script."""

from talk import SCRIPT, talk


def test_conversation(agent_workspace, agent_conversation, number):
    talk(agent_workspace, agent_conversation(script=SCRIPT))
