"""Scripted LLMs: the test fails when agent and script do not agree."""

import pytest

from tests.support.project import outcomes

pytestmark = pytest.mark.usefixtures("served")

HEAD = """
from pytest_agent_sandbox import error, say, tool
import pytest

@pytest.fixture
def start(agent_llm, agent_conversation):
    def start(*replies, **options):
        agent_llm.script(list(replies))
        conversation = agent_conversation(**options)
        conversation.send_message("Go.")
        return conversation
    return start
"""


def test_the_agent_and_the_script_must_agree(project):
    project.write(
        "test_it.py",
        HEAD
        + """
def test_exhausted(start):
    start(tool("terminal", command="true")).run(timeout=60)

def test_unused(start):
    start(say("Done."), say("Never asked for.")).run(timeout=60)

def test_a_function_of_the_request(start):
    seen = []
    def answer(request):
        seen.append(request.last_message)
        return say("Yes.")
    conversation = start(answer)
    conversation.run(timeout=60)
    assert "Go." in seen[0]

def test_a_failing_function(start):
    def answer(request):
        assert request.last_message == "something else"
    start(answer).run(timeout=60)

def test_the_provider_fails(start):
    from pytest_agent_sandbox.errors import ConversationFailed
    with pytest.raises(ConversationFailed, match="no such deployment"):
        start(error(404, "no such deployment")).run(timeout=60)

def test_two_conversations_with_a_script_each(agent_conversation):
    for word in ("one", "two"):
        conversation = agent_conversation(script=[say(word)])
        conversation.send_message("Go.")
        conversation.run(timeout=60)
        assert conversation.events.final_message == word

def test_a_script_may_be_continued(start, agent_llm):
    conversation = start(say("one"))
    conversation.run(timeout=60)
    agent_llm.script([say("two")])
    conversation.send_message("Go on.")
    conversation.run(timeout=60)
    assert [message.text for message in conversation.events.messages("agent")] == ["one", "two"]

def test_an_empty_script_is_a_script(start):
    start().run(timeout=60)

def test_a_script_without_a_conversation(agent_llm):
    agent_llm.script([say("Nobody asks.")])

def test_no_script_and_no_live_llm(agent_conversation):
    agent_conversation()
""",
    )
    code, output = project.run("-rs", "-v", "--no-sandbox-live")
    assert code == 1
    assert outcomes(output) == {
        "test_exhausted": "FAILED",
        "test_unused": "FAILED",
        "test_a_function_of_the_request": "PASSED",
        "test_a_failing_function": "FAILED",
        "test_the_provider_fails": "PASSED",
        "test_two_conversations_with_a_script_each": "PASSED",
        "test_a_script_may_be_continued": "PASSED",
        "test_an_empty_script_is_a_script": "FAILED",
        "test_a_script_without_a_conversation": "FAILED",
        "test_no_script_and_no_live_llm": "SKIPPED",
    }
    assert "LLMScriptExhausted: The agent asked its LLM for reply 2" in output
    assert "LLMScriptUnused: The agent used 1 of the script's 2 replies" in output
    assert "say('Never asked for.')" in output
    assert 'assert request.last_message == "something else"' in output
    assert "LLM_MODEL and LLM_API_KEY are not set" in output
    assert " error" not in output.splitlines()[-1]
