"""The whole way: an agent reads a project, writes a file, and deletes it again.

The LLM is scripted, so the test needs no API key and gives the same verdict every time. Everything
else is real: the server, the agent, its tools, the files.
"""

from pytest_agent_sandbox import RemoteConversation, say, tool

FACTS = "It is called demo.\nIt has one file.\nIt has no tests.\n"


def test_writes_three_facts_and_deletes_them(agent_workspace, agent_llm, agent_conversation):
    agent_workspace.write_text("README.md", "# demo\n")
    agent_llm.script(
        [
            tool("terminal", command="cat README.md"),
            tool(
                "file_editor",
                command="create",
                path=f"{agent_workspace.working_dir}/FACTS.txt",
                file_text=FACTS,
            ),
            say("FACTS.txt holds three facts about the project."),
            tool("terminal", command="rm FACTS.txt"),
            say("FACTS.txt is gone."),
        ]
    )
    events = []
    conversation = agent_conversation(callbacks=[events.append])
    assert isinstance(conversation, RemoteConversation)

    conversation.send_message("Read the repo and write 3 facts about it into FACTS.txt.")
    conversation.run(timeout=120)
    assert conversation.status == "finished"
    assert len(agent_workspace.read_text("FACTS.txt").splitlines()) == 3

    conversation.send_message("Great! Now delete that file.")
    conversation.run(timeout=120)
    assert conversation.status == "finished"
    assert agent_workspace.execute_command("test -e FACTS.txt").exit_code == 1

    assert [call.name for call in conversation.events.tool_calls()] == [
        "terminal",
        "file_editor",
        "terminal",
    ]
    assert conversation.events.final_message == "FACTS.txt is gone."
    # The callback was told of everything that the conversation knows, in the same order.
    known = [event.id for event in conversation.events]
    assert [event.id for event in events if event.id in set(known)] == known
