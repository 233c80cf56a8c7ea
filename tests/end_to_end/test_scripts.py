"""Scripted LLMs: the test fails when agent and script do not agree."""

import pytest

from tests.support.project import outcomes

pytestmark = pytest.mark.usefixtures("served")

HEAD = """
from pytest_agent_sandbox import error, say, tool, unchecked
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

def test_a_tool_that_the_agent_does_not_have(start):
    start(tool("terminl", command="true"), say("Done.")).run(timeout=60)

def test_an_argument_that_its_schema_refuses(start):
    start(tool("terminal", cmd="true"), say("Done.")).run(timeout=60)

def test_both_on_purpose(start):
    conversation = start(
        unchecked(tool("terminl", command="true")), unchecked(tool("terminal", cmd="true")),
        say("Done."))
    conversation.run(timeout=60)
    assert len(conversation.events.errors()) == 2

def test_all_that_a_tool_takes(start):
    start(
        tool("terminal", command="true", is_input=False, timeout=5.0, reset=False, summary="x"),
        tool("file_editor", command="create", path="/tmp/x", file_text="x"),
        tool("file_editor", command="view", path="/tmp/x", view_range=[1, 1]),
        tool("think", thought="Hm."),
        tool("finish", message="Done."),
    ).run(timeout=60)

def test_a_message_that_is_not_run(start):
    start(say("Done."))

def test_a_message_of_a_fork_that_is_not_run(start):
    conversation = start(say("Done."))
    conversation.run(timeout=60)
    conversation.fork().send_message("Go on.")

def test_no_message(agent_llm, agent_conversation):
    agent_llm.script([say("Done.")])
    agent_conversation().run(timeout=60)

def test_nothing_new(start):
    conversation = start(say("Done."))
    conversation.run(timeout=60)
    conversation.run(timeout=60)

def test_a_closed_conversation(start):
    conversation = start(say("Done."))
    conversation.run(timeout=60)
    conversation.close()
    conversation.send_message("Go on.")

def test_a_script_after_a_conversation_with_its_own(agent_llm, agent_conversation):
    agent_conversation(script=[])
    agent_llm.script([])
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
        "test_a_tool_that_the_agent_does_not_have": "FAILED",
        "test_an_argument_that_its_schema_refuses": "FAILED",
        "test_both_on_purpose": "PASSED",
        "test_all_that_a_tool_takes": "PASSED",
        "test_a_message_that_is_not_run": "FAILED",
        "test_a_message_of_a_fork_that_is_not_run": "FAILED",
        "test_no_message": "FAILED",
        "test_nothing_new": "FAILED",
        "test_a_closed_conversation": "FAILED",
        "test_a_script_after_a_conversation_with_its_own": "PASSED",
    }
    headlines = {row["test"].partition("::")[2]: row["headline"] for row in project.rows}
    faults = {row["test"].partition("::")[2]: row["fault"] for row in project.rows}
    for name, fault, said in (
        ("exhausted", "script", "LLMScriptExhausted: The agent asked its LLM for reply 2"),
        ("unused", "script", "LLMScriptUnused: The agent used 1"),
        ("a_failing_function", "assertion", "assert"),
        ("a_tool_that_the_agent_does_not_have", "script", "(did you mean 'terminal'?). Its tools:"),
        ("an_argument_that_its_schema_refuses", "script", "it has no 'cmd'"),
        ("a_message_that_is_not_run", "test", "and never run: 'Go.'"),
        ("a_message_of_a_fork_that_is_not_run", "test", "and never run: 'Go on.'"),
        ("no_message", "test", "has no message yet"),
        ("nothing_new", "test", "was told nothing since"),
        ("a_closed_conversation", "test", "ConversationClosed: The conversation has been closed"),
    ):
        assert (name, faults[f"test_{name}"]) == (name, fault)
        assert said in headlines[f"test_{name}"]
    assert "LLMScriptExhausted: The agent asked its LLM for reply 2" in output
    assert "LLMScriptUnused: The agent used 1 of the script's 2 replies" in output
    assert "say('Never asked for.')" in output
    assert 'assert request.last_message == "something else"' in output
    assert "LLM_MODEL and LLM_API_KEY are not set" in output
    assert " error" not in output.splitlines()[-1]


COSTS = """
from pytest_agent_sandbox import SettingsError, expect, say
import pytest

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

def talk(agent_conversation, message):
    conversation = agent_conversation()
    conversation.send_message(message)
    conversation.run(timeout=60)
    return conversation

def test_a_known_model_costs_something(agent_llm, agent_conversation):
    agent_llm.script([say("Hello.")], model="openai/gpt-4o")
    assert 0 < talk(agent_conversation, "Hello?").cost < 1

def test_an_unknown_model_is_no_reason_to_pass(agent_llm, agent_conversation):
    agent_llm.script([say("Hello.")])
    conversation = talk(agent_conversation, "Hello?")
    with pytest.raises(AssertionError, match="no price is known of openai/scripted"):
        assert conversation.cost < 1000
    with pytest.raises(SettingsError, match="no price is known of openai/scripted"):
        expect(conversation).at_most(cost=1000)

@pytest.mark.parametrize("model", ["", "openai/gpt-4o"])
def test_images_are_seen(agent_llm, agent_conversation, model):
    seen = []
    def answer(request):
        seen.append(str(request.body))
        return say("A pixel.")
    agent_llm.script([answer], model=model)
    image = {"type": "image", "image_urls": [PIXEL]}
    talk(agent_conversation, {"content": [{"type": "text", "text": "What is it?"}, image]})
    assert PIXEL in seen[0]
"""


def test_what_a_scripted_model_costs_and_sees(project):
    project.write("test_it.py", COSTS)
    code, output = project.run("-v", "--no-sandbox-live")
    assert code == 0, output
    assert outcomes(output) == dict.fromkeys(outcomes(output), "PASSED")
    assert len(outcomes(output)) == 4
