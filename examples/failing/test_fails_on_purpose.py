"""Fails on purpose, to show what a failure report holds. Not collected with the other examples."""

from pytest_agent_sandbox import say, tool


def test_the_agent_keeps_the_licence(agent_workspace, agent_llm, agent_conversation):
    agent_workspace.write_text("LICENSE", "MIT\n")
    agent_workspace.write_text("notes.txt", "one\ntwo\n")
    agent_llm.script(
        [
            say("I will tidy up.", tool("terminal", command="ls")),
            tool("terminal", command="rm LICENSE && echo three >> notes.txt"),
            say("Tidied up: the project is much smaller now."),
        ]
    )
    conversation = agent_conversation()
    conversation.send_message("Tidy up this project, but keep its licence.")
    conversation.run(timeout=120)
    assert "LICENSE" in agent_workspace.execute_command("ls").stdout.split()
