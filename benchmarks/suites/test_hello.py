"""As many tests as there are to be, each with a workspace, an agent, and its LLM."""

from pytest_agent_sandbox import say


def test_hello(agent_workspace, agent_conversation, number):
    conversation = agent_conversation(script=[say(f"Hello {number}.")])
    conversation.send_message("Say hello.")
    conversation.run(timeout=120)
    assert conversation.events.final_message == f"Hello {number}."
