"""What can be done with a conversation beside running it, on a real server, its LLM scripted."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from pydantic import SecretStr

from pytest_agent_sandbox.client.agents import Agent, Tool
from pytest_agent_sandbox.client.events import ActionEvent
from pytest_agent_sandbox.client.policies import analyzer_payload, policy_payload
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import ConversationTimeout, ServerError, SettingsError

from .conversing import Converse
from .scripted_llm import ScriptedLLM, say, tool


def test_a_question_beside_the_conversation(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(say("First."), say("Forty-two."))
    conversation = converse()
    conversation.send_message("Go.")
    conversation.run(timeout=60)
    before = len(conversation.events)
    assert conversation.ask_agent("How much?") == "Forty-two."
    assert len(conversation.events) == before
    assert conversation.final_response() == "First."


def test_a_title_and_tags(converse: Converse) -> None:
    conversation = converse()
    conversation.set_title("A title")
    conversation.set_tags({"suite": "nightly"})
    assert conversation.state.tags == {"suite": "nightly"}
    assert conversation.workspace.server.conversations.get(conversation.id)["title"] == "A title"


@pytest.mark.parametrize("begun_with", [True, False])
def test_risky_actions_wait_for_a_confirmation(
    converse: Converse, llm: ScriptedLLM, workspace: RemoteWorkspace, begun_with: bool
) -> None:
    llm.script(
        tool("terminal", command="echo low >low", security_risk="LOW"),
        tool("terminal", command="echo high >high", security_risk="HIGH"),
        say("Done."),
    )
    if begun_with:
        conversation = converse(confirm="risky")
    else:
        conversation = converse()
        assert conversation.state.security_analyzer is None
        conversation.set_security_analyzer("llm")
        conversation.set_confirmation_policy({"kind": "ConfirmRisky", "threshold": "HIGH"})
    conversation.send_message("Go.")
    conversation.run(timeout=60)
    assert conversation.status == "waiting_for_confirmation"
    assert workspace.read_text("low") == "low\n"
    assert [call.risk for call in conversation.events.tool_calls()] == ["LOW", "HIGH"]
    assert conversation.state.confirmation_policy["kind"] == "ConfirmRisky"
    analyzer = conversation.state.security_analyzer
    assert analyzer is not None
    assert analyzer["kind"] == "LLMSecurityAnalyzer"
    conversation.run(timeout=60)
    assert conversation.status == "finished"
    assert workspace.read_text("high") == "high\n"


def test_a_pattern_analyzer_looks_at_what_would_be_done(
    converse: Converse, llm: ScriptedLLM
) -> None:
    llm.script(tool("terminal", command="rm -rf / --no-preserve-root"), say("Done."))
    conversation = converse(
        confirm={"kind": "ConfirmRisky", "confirm_unknown": False}, security_analyzer="pattern"
    )
    conversation.send_message("Go.")
    conversation.run(timeout=60)
    assert conversation.status == "waiting_for_confirmation"


@pytest.mark.parametrize("wrong", ["risk", {"threshold": "HIGH"}, 3])
def test_what_is_no_policy_is_said(wrong: object) -> None:
    with pytest.raises(SettingsError, match=r"confirm=.*'always', 'never', 'risky'"):
        policy_payload(wrong)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"security_analyzer=.*'llm', 'pattern'"):
        analyzer_payload(wrong)  # type: ignore[arg-type]


def test_another_llm(converse: Converse, llm: ScriptedLLM) -> None:
    conversation = converse()
    with ScriptedLLM() as other:
        other.script(say("I am another."))
        conversation.switch_llm(other.llm())
        conversation.send_message("Who are you?")
        conversation.run(timeout=60)
    assert conversation.events.final_message == "I am another."
    assert llm.requests == []


def test_a_fork_of_a_part(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(say("One."), say("Two."))
    conversation = converse()
    for message in ("1", "2"):
        conversation.send_message(message)
        conversation.run(timeout=60)
    first = conversation.events.messages("agent")[0]
    fork = conversation.fork(title="A part", tags={"kind": "part"}, from_event=first.id)
    assert [message.text for message in fork.events.messages()] == ["1", "One."]
    assert fork.state.tags == {"kind": "part"}
    assert fork.workspace.server.conversations.get(fork.id)["title"] == "A part"


def test_going_back(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(say("One."), say("Another one."))
    conversation = converse()
    conversation.send_message("first")
    conversation.run(timeout=60)
    conversation.navigate(conversation.events.messages("user")[0].id)
    conversation.send_message("second")
    conversation.run(timeout=60)
    sent = json.dumps(llm.requests[-1])
    assert "second" in sent
    assert "One." not in sent


def test_a_goal(converse: Converse, llm: ScriptedLLM, workspace: RemoteWorkspace) -> None:
    llm.script(
        say("I have done nothing."),
        say('{"score": 0.1, "complete": false, "missing": "the file"}'),
        tool("terminal", command="echo x >goal"),
        say("It is there."),
        say('{"score": 1.0, "complete": true, "missing": ""}'),
    )
    conversation = converse()
    assert conversation.state.goal == {}
    conversation.start_goal("There is a file called goal.", max_iterations=3)
    goal = conversation.wait_for_goal(timeout=60)
    assert (goal["status"], goal["iteration"]) == ("complete", 2)
    assert workspace.read_text("goal") == "x\n"


def test_a_goal_that_is_given_up(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(tool("terminal", command="sleep 5"), say("Done."))
    conversation = converse()
    conversation.start_goal("Something.")
    with pytest.raises(ConversationTimeout, match="not reached within 1 s"):
        conversation.wait_for_goal(timeout=1)
    conversation.stop_goal()
    assert conversation.wait_for_goal(timeout=20)["status"] == "interrupted"


def test_a_child(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(say("The child is done."))
    conversation = converse()
    child = conversation.start_child("Do something.", title="A child")
    known = conversation.workspace.server.conversations
    assert known.get(child)["parent_conversation_id"] == conversation.id
    known.delete(child)


def test_what_is_given_beside_the_agent(
    converse: Converse, llm: ScriptedLLM, workspace: RemoteWorkspace
) -> None:
    llm.script(say("Hello."))
    conversation = converse(request={"tags": {"a": "b"}, "stuck_detection": False})
    assert conversation.state.tags == {"a": "b"}
    info = workspace.server.conversations.get(conversation.id)
    assert info["stuck_detection"] is False
    assert conversation.state.max_iterations == 100
    assert conversation.state.workspace["working_dir"] == workspace.working_dir
    assert conversation.state.persistence_dir
    assert conversation.state.agent["kind"] == "Agent"
    assert conversation.state.invoked_skills == conversation.state.activated_knowledge_skills == []
    assert conversation.state.events is conversation.events


def test_the_history_is_condensed(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(*(say(f"Answer {number}.") for number in range(4)), say("A summary."))
    agent = Agent(
        llm=llm.llm(),
        tools=[Tool(name="terminal")],
        condenser={"kind": "LLMSummarizingCondenser", "llm": llm.llm(), "max_size": 240},
    )
    conversation = converse(agent=agent)
    for number in range(4):
        conversation.send_message(f"Question {number}?")
        conversation.run(timeout=60)
    conversation.condense()
    assert [event.kind for event in conversation.events if "ondensation" in event.kind]


def test_all_events_as_the_server_packs_them(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(tool("terminal", command="true"), say("Done."))
    conversation = converse()
    conversation.send_message("Go.")
    conversation.run(timeout=60)
    packed = conversation.workspace.server.conversations.trajectory(conversation.id)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        texts = [archive.read(name).decode() for name in archive.namelist()]
    action = next(one for one in conversation.events if isinstance(one, ActionEvent))
    assert any(action.id in text for text in texts)


def test_a_plugin_that_is_not_there(converse: Converse) -> None:
    with pytest.raises(ServerError):
        converse().load_plugin("no-such-plugin")


def test_a_profile_that_is_not_there(converse: Converse) -> None:
    with pytest.raises(ServerError, match="no-such-profile"):
        converse().switch_profile("no-such-profile")


def test_the_model_of_an_agent_that_speaks_no_acp(converse: Converse) -> None:
    with pytest.raises(ServerError, match="switch_acp_model was answered with 4"):
        converse().switch_acp_model("any")


def test_a_secret_that_the_server_looks_up(
    converse: Converse, llm: ScriptedLLM, workspace: RemoteWorkspace
) -> None:
    """The server it asks is the sandbox's own, whose files it serves to who has the key."""
    key = workspace.api_key
    assert key is not None
    workspace.write_text("/tmp/looked-up", "hush-hush")
    llm.script(tool("terminal", command="printf '%s' $LOOKED_UP | wc -c"), say("Done."))
    url = "http://127.0.0.1:8000/api/file/download?path=/tmp/looked-up"
    lookup = {"url": url, "headers": {"X-Session-API-Key": key.get_secret_value()}}
    conversation = converse(secrets={"LOOKED_UP": lookup, "OTHER": SecretStr("x")})
    conversation.send_message("Go.")
    conversation.run(timeout=60)
    (call,) = conversation.events.tool_calls("terminal")
    assert "9" in str(call.result)
    with pytest.raises(SettingsError, match=r"takes text, not int; or where to look it up"):
        conversation.update_secrets({"N": 1})  # type: ignore[dict-item]
