"""Conversations with the real agent on a real server, its LLM scripted."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from pytest_agent_sandbox.client.agents import Agent, Tool
from pytest_agent_sandbox.client.conversation import RemoteConversation
from pytest_agent_sandbox.client.conversation_state import ExecutionStatus
from pytest_agent_sandbox.client.events import Event
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import ServerError
from tests.support.timing import eventually

from .conversing import Converse, tool_is_running
from .scripted_llm import ScriptedLLM, say, tool


def test_two_messages_and_two_runs(
    converse: Converse, llm: ScriptedLLM, workspace: RemoteWorkspace
) -> None:
    llm.script(
        tool("terminal", command="echo a fact > FACTS.txt"),
        say("Written."),
        tool("terminal", command="rm FACTS.txt; ls"),
        tool("finish", message="Deleted."),
    )
    received: list[Event] = []
    conversation = converse(callbacks=[received.append])
    assert conversation.status == "idle"

    conversation.send_message("Write a fact into FACTS.txt.")
    conversation.run(timeout=60)
    assert conversation.status == ExecutionStatus.FINISHED
    assert conversation.state.execution_status == "finished"
    assert workspace.read_text("FACTS.txt") == "a fact\n"
    assert conversation.events.final_message == "Written."
    cost = conversation.cost
    assert cost > 0
    assert conversation.tokens.prompt_tokens == 2000
    assert {event.id for event in conversation.events} <= {event.id for event in received}

    conversation.send_message("Great! Now delete that file.")
    conversation.run(timeout=60)
    assert conversation.status == "finished"
    assert conversation.events.final_message == "Deleted."
    assert conversation.cost == pytest.approx(2 * cost)
    metrics = conversation.conversation_stats.get_combined_metrics()
    assert metrics.accumulated_cost == conversation.cost
    assert conversation.state.id == conversation.id

    commands = [call.arguments["command"] for call in conversation.events.tool_calls("terminal")]
    assert commands == ["echo a fact > FACTS.txt", "rm FACTS.txt; ls"]
    assert [message.text for message in conversation.events.messages("user")] == [
        "Write a fact into FACTS.txt.",
        "Great! Now delete that file.",
    ]
    assert conversation.events.errors() == []
    assert len(llm.requests) == 4, "a title or anything else asked the LLM too"


def test_costs_and_tokens_add_up(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(tool("terminal", command="true"), say("Done."))
    conversation = converse()
    assert (conversation.cost, conversation.tokens.prompt_tokens) == (0, 0)
    conversation.send_message("go")
    conversation.run(timeout=30)
    # The server tells the last of it after the end.
    eventually(lambda: conversation.tokens.completion_tokens == 200)
    assert conversation.tokens.prompt_tokens == 2000
    assert conversation.cost > 0


def test_a_confirmed_call_is_carried_out(
    converse: Converse, llm: ScriptedLLM, workspace: RemoteWorkspace
) -> None:
    llm.script(
        tool("terminal", command="touch one"), tool("terminal", command="touch two"), say("Ok.")
    )
    conversation = converse(confirm=True)
    conversation.send_message("go")
    conversation.run(timeout=30)
    assert conversation.status == "waiting_for_confirmation"
    assert workspace.execute_command("ls").stdout == ""
    conversation.accept()
    conversation.wait(timeout=30)
    assert conversation.status == "waiting_for_confirmation"
    assert workspace.execute_command("ls").stdout.split() == ["one"]
    conversation.run(timeout=30)  # is a confirmation too
    assert conversation.status == "finished"
    assert workspace.execute_command("ls").stdout.split() == ["one", "two"]


def test_a_rejected_call_is_not(
    converse: Converse, llm: ScriptedLLM, workspace: RemoteWorkspace
) -> None:
    llm.script(tool("terminal", command="touch one"), say("As you like."))
    conversation = converse(confirm=True)
    conversation.send_message("go")
    conversation.run(timeout=30)
    conversation.reject("not today")
    conversation.run(timeout=30)
    assert conversation.status == "finished"
    (call,) = conversation.events.tool_calls("terminal")
    assert (call.is_error, call.result) == (True, "not today")
    assert workspace.execute_command("ls").stdout == ""
    assert "not today" in str(llm.requests[-1]["messages"])


def test_secrets_reach_commands_and_nothing_else(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(
        tool("terminal", command='test "$FIRST" = s3cret-one && echo first is right'),
        tool("terminal", command='test "$SECOND" = s3cret-two && echo second is right'),
        say("Ok."),
    )
    conversation = converse(secrets={"FIRST": "s3cret-one"})
    conversation.update_secrets({"SECOND": SecretStr("s3cret-two")})
    conversation.send_message("go")
    conversation.run(timeout=30)
    results = [call.result for call in conversation.events.tool_calls("terminal")]
    assert results == ["first is right", "second is right"]
    told = repr(conversation) + "".join(repr(event) for event in conversation.events)
    assert "SecretStr" not in told


def test_a_fork_has_the_history_and_a_life_of_its_own(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(say("One."), say("Two."))
    conversation = converse()
    conversation.send_message("first")
    conversation.run(timeout=30)
    received: list[Event] = []
    with conversation.fork(callbacks=[received.append]) as fork:
        assert fork.id != conversation.id
        assert fork.events.final_message == "One."
        assert fork.cost == 0
        fork.send_message("second")
        fork.run(timeout=30)
        assert fork.events.final_message == "Two."
        assert [event.text for event in received if event.kind == "MessageEvent"] == [
            "first",
            "One.",
            "second",
            "Two.",
        ]
    assert conversation.events.final_message == "One."


def test_an_attached_conversation_has_all_events(
    converse: Converse, llm: ScriptedLLM, workspace: RemoteWorkspace
) -> None:
    llm.script(tool("terminal", command="sleep 1; echo ok"), say("One."), say("Two."))
    first = converse()
    first.send_message("go")
    first.run(blocking=False)
    eventually(lambda: tool_is_running(first))
    received: list[Event] = []
    with RemoteConversation.attach(workspace, first.id, callbacks=[received.append]) as second:
        second.wait(timeout=30)
        assert second.status == "finished"
        assert second.cost > 0
        first.wait(timeout=30)
        assert [event.id for event in second.events] == [event.id for event in first.events]
        second.send_message("more")
        second.run(timeout=30)
        assert second.events.final_message == "Two."
    assert {event.id for event in second.events} <= {event.id for event in received}


def test_a_conversation_that_is_finished_can_be_attached_to(
    converse: Converse, llm: ScriptedLLM, workspace: RemoteWorkspace
) -> None:
    llm.script(say("One."), say("Two."))
    first = converse(conversation_id="0f0e0d0c-0b0a-4908-8706-050403020100")
    assert first.id == "0f0e0d0c-0b0a-4908-8706-050403020100"
    first.send_message("go")
    first.run(timeout=30)
    first.close()
    with RemoteConversation.attach(workspace, first.id) as second:
        assert second.status == "finished"
        assert second.events.final_message == "One."
        assert second.cost == first.cost
        second.wait()
        second.send_message("more")
        second.run(timeout=30)
        assert second.events.final_message == "Two."


def test_there_is_no_such_conversation(workspace: RemoteWorkspace) -> None:
    with pytest.raises(ServerError, match="404"):
        RemoteConversation.attach(workspace, "0f0e0d0c-0b0a-4908-8706-ffffffffffff")


def test_an_agent_that_the_server_refuses(converse: Converse, llm: ScriptedLLM) -> None:
    with pytest.raises(ServerError, match="422"):
        converse(agent={"llm": {"model": "m", "num_retries": "many"}})


def test_an_unknown_tool_is_an_error(converse: Converse, llm: ScriptedLLM) -> None:
    conversation = converse(agent=Agent(llm=llm.llm(), tools=[Tool(name="teleporter")]))
    with pytest.raises(ServerError, match="teleporter"):
        conversation.send_message("go")


def test_messages_may_be_given_in_the_servers_form(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(say("Ok."))
    conversation = converse()
    conversation.send_message(
        {
            "role": "user",
            "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}],
        }
    )
    assert (
        conversation.events.messages("user")
        or eventually(lambda: conversation.events.messages("user")) is None
    )
    assert conversation.events.messages("user")[0].text == "one two"
