"""A real agent of the Agent Client Protocol, in real sandboxes: what tests see of it."""

import json
from pathlib import Path

import pytest

from tests.support.project import Project, outcomes

pytestmark = pytest.mark.usefixtures("agent_server_image")

PROGRAM = Path(__file__).parent / "agents" / "acp_program.py"

SUITE = f"""
import time
import pytest
from pytest_agent_sandbox import acp_agent, error, say, tool
from pytest_agent_sandbox.errors import ConversationFailed, SandboxDied

PYTHON = "/agent-server/.venv/bin/python"  # it has the protocol's library

@pytest.fixture
def small_agent(agent_workspace):
    agent_workspace.upload({str(PROGRAM)!r}, "/tmp/agent.py")
    return acp_agent([PYTHON, "/tmp/agent.py"])
"""

STORY = """
def test_passes(agent_workspace, small_agent, agent_llm, agent_conversation):
    agent_llm.script([
        say("I will look.", tool("run", command="pwd; cat name.txt | tee copy.txt")),
        tool("run", command="ls nowhere"),
        say("It is Ada."),
    ])
    agent_workspace.write_text("name.txt", "Ada\\n")
    seen = []
    conversation = agent_conversation(small_agent, callbacks=[seen.append])
    conversation.send_message("Whose name is it?")
    conversation.run(timeout=60)

    assert conversation.status == "finished"
    assert agent_workspace.read_text("copy.txt") == "Ada\\n"
    first, second, last = conversation.events.tool_calls()
    assert first.name == "execute"
    assert first.arguments == {"command": "pwd; cat name.txt | tee copy.txt"}
    assert first.result == "/workspace/project\\nAda\\n"
    assert (first.is_error, first.observation.status) == (False, "completed")
    assert (second.is_error, second.observation.status) == (True, "failed")
    assert "No such file" in second.result
    assert conversation.events.tool_calls("execute") == [first, second]
    assert last.name == "finish"
    assert "It is Ada." in conversation.events.final_message
    # Its calls are the real ones of the OpenAI library.
    assert [call.model for call in agent_llm.calls] == ["small-model"] * 3
    assert agent_llm.usage.tokens > 100
    # A second turn of the same session.
    agent_llm.script([say("Still Ada.")])
    conversation.send_message("Sure?")
    conversation.run(timeout=60)
    assert conversation.events.final_message == "Still Ada."

def test_fails(agent_workspace, small_agent, agent_llm, agent_conversation):
    agent_llm.script([
        say("I will tidy.", tool("run", command="rm keep.txt && echo removed")),
        tool("run", command="cat keep.txt"),
        say("Tidied."),
    ])
    agent_workspace.write_text("keep.txt", "precious\\n")
    conversation = agent_conversation(small_agent)
    conversation.send_message("Tidy up, but keep keep.txt.")
    conversation.run(timeout=60)
    assert "keep.txt" in agent_workspace.execute_command("ls").stdout.split()
"""


@pytest.fixture(scope="module")
def told(agent_server_image, tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("acp"))
    project.environment["PYTEST_SANDBOX_ISOLATION"] = "recycled"
    project.write("test_it.py", SUITE + STORY)
    _, output = project.run("-v")
    return project, output


def test_one_passes_and_one_fails(told):
    _, output = told
    found = outcomes(output.replace("\n", " "))  # what is shown live is between
    assert "1 failed, 1 passed" in output, found


def test_what_it_does_is_shown_as_it_happens(told):
    _, output = told
    live = output.partition("= FAILURES =")[0]
    assert "agent    execute  pwd; cat name.txt | tee copy.txt" in live
    assert "result   /workspace/project" in live
    assert "error    ls: cannot access" in live
    assert live.count("execute  ls nowhere") == 1


def test_the_failed_ones_transcript_is_in_the_report(told):
    _, output = told
    transcript = output.partition("agent transcript")[2].partition("container log")[0]
    assert "user     Tidy up, but keep keep.txt." in transcript
    assert "agent    execute  rm keep.txt && echo removed" in transcript
    assert "result: removed" in transcript
    assert "agent    execute  cat keep.txt  [failed]" in transcript
    assert "finish  I will tidy.Tidied." in transcript
    assert "deleted   keep.txt" in output


def test_the_page_joins_the_news_of_a_call(told):
    project, _ = told
    tools = [step for step in project.story["steps"] if step["kind"] == "tool"]
    assert [step["tool"] for step in tools] == ["execute", "execute", "finish"]
    removed, shown, _ = tools
    parts = {part["label"]: part["text"] for part in removed["parts"]}
    assert parts == {"command": "rm keep.txt && echo removed", "result": "removed\n"}
    assert removed["facts"] == [["status", "completed"]]
    assert not removed["is_error"]
    assert removed["duration"] > 0
    assert shown["is_error"]
    assert len([step for step in project.story["steps"] if step["kind"] == "llm"]) == 3
    result = json.loads((project.results[0] / "result.json").read_text("utf-8"))
    assert result["steps"] == 3


def test_no_token_is_left_behind(told):
    project, _ = told
    record = (project.results[0] / "events.jsonl").read_text("utf-8")
    assert "OPENAI_API_KEY" in record  # the agent is told the names of what it has
    assert "http://" not in record


EDGES = """
def run(conversation, message="Go on."):
    conversation.send_message(message)
    started = time.monotonic()
    try:
        conversation.run(timeout=60)
    finally:
        assert time.monotonic() - started < 15

def test_its_environment(agent_workspace, agent_llm, agent_conversation):
    agent_workspace.upload(PROGRAM, "/tmp/agent.py")
    agent = acp_agent([PYTHON, "/tmp/agent.py", "raw"], env={"COLOUR": "deep blue"})
    agent_llm.script([
        tool("run", command='echo "$COLOUR, $PASSPHRASE"; env | grep -c _BASE_URL'), say("Done.")
    ])
    conversation = agent_conversation(agent, secrets={"PASSPHRASE": "open-sesame-now"})
    run(conversation)
    call, _ = conversation.events.tool_calls()
    assert call.result == "deep blue, <secret-hidden>\\n2\\n"
    assert call.observation.raw_output == {"exit_code": 0}

def test_it_is_told_the_model(small_agent, agent_llm, agent_conversation):
    agent_llm.script(
        [tool("run", command='echo "$LLM_MODEL, $OPENAI_MODEL, $CODEX_CONFIG"'), say("Done.")],
        model="openai/some-model",
    )
    conversation = agent_conversation(small_agent)
    run(conversation)
    told, _, config = conversation.events.tool_calls()[0].result.partition(", {")
    assert told == "openai/some-model, some-model"
    assert '"model": "some-model"' in config
    assert '"openai_base_url": "<secret-hidden>", "web_search": "disabled"}' in config

def test_a_command_that_is_not_there(agent_llm, agent_conversation):
    agent_llm.script([])
    conversation = agent_conversation(acp_agent(["no-such-agent"]))
    with pytest.raises(ConversationFailed, match="no-such-agent"):
        run(conversation)

def test_a_program_that_is_no_agent(agent_llm, agent_conversation):
    agent_llm.script([])
    says = ["sh", "-c", 'echo "No licence, $TOKEN." >&2; echo "Usage: agent"; exit 3']
    conversation = agent_conversation(acp_agent(says), secrets={"TOKEN": "open-sesame-now"})
    with pytest.raises(ConversationFailed) as raised:
        run(conversation)
    assert "What the agent's program printed last:" in str(raised.value)
    assert "  No licence, ***." in str(raised.value)
    assert "  Usage: agent" in str(raised.value)

def test_an_llm_that_fails(small_agent, agent_llm, agent_conversation):
    agent_llm.script([error(500)])
    with pytest.raises(ConversationFailed, match="ACP"):
        run(agent_conversation(small_agent))
    assert len(agent_llm.calls) == 1  # the turn was not tried again

def test_a_dead_sandbox(small_agent, agent_llm, agent_conversation):
    agent_llm.script([tool("run", command="kill -9 -1; sleep 60")])
    with pytest.raises(SandboxDied):
        run(agent_conversation(small_agent))
"""


@pytest.mark.usefixtures("recycled")
def test_edges(project):
    project.write("test_it.py", SUITE + f"PROGRAM = {str(PROGRAM)!r}\n" + EDGES)
    _, output = project.run("-v", "--no-sandbox-live")
    found = outcomes(output)
    assert len(found) == 6
    assert set(found.values()) == {"PASSED"}


FAILING = """
def test_it_fails_to_begin(agent_workspace, agent_llm, agent_conversation):
    agent_workspace.write_text("/tmp/agent.py", "raise SystemExit('there is no licence for it')")
    agent_llm.script([])
    conversation = agent_conversation(acp_agent(["python3", "/tmp/agent.py"]))
    conversation.send_message("Go on.")
    conversation.run(timeout=60)
"""


@pytest.mark.usefixtures("recycled")
def test_what_it_said_before_it_failed_is_a_hint(project):
    project.write("test_it.py", SUITE + FAILING)
    code, output = project.run()
    assert code == 1
    assert "note:  The last that the agent wrote to its log: there is no licence for it" in output


ISOLATED = """
@pytest.mark.agent_sandbox(network="isolated")
def test_isolated(agent_workspace, small_agent, agent_llm, agent_conversation):
    agent_llm.script([tool("run", command="echo inside"), say("Done.")])
    conversation = agent_conversation(small_agent)
    conversation.send_message("Go on.")
    conversation.run(timeout=60)
    assert conversation.events.tool_calls()[0].result == "inside\\n"
"""


def test_without_a_network(project):
    project.write("test_it.py", SUITE + ISOLATED)
    code, _ = project.run()
    assert code == 0
