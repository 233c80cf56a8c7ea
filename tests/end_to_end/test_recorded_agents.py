"""Agents with LLM clients of their own: recorded once, replayed in a fresh sandbox."""

import json
from pathlib import Path

import pytest

from pytest_agent_sandbox.llm.replies import say, tool
from tests.support.project import Project
from tests.support.provider import Provider, serving

pytestmark = pytest.mark.usefixtures("agent_server_image")

PROGRAMS = Path(__file__).parent / "agents"

SUITE = f"""
from pytest_agent_sandbox import acp_agent

def test_both(agent_workspace, agent_llm, agent_conversation):
    agent_workspace.upload({str(PROGRAMS / "acp_program.py")!r}, "/tmp/small.py")
    agent_workspace.upload({str(PROGRAMS / "command_program.py")!r}, "/tmp/command.py")
    conversation = agent_conversation(
        acp_agent(["/agent-server/.venv/bin/python", "/tmp/small.py"]),
        secrets={{"PHRASE": "open up now"}},
    )
    conversation.send_message("Go on.")
    conversation.run(timeout=60)
    call, _ = conversation.events.tool_calls()
    assert "OPENAI_BASE_URL=" in call.result
    run = agent_workspace.run_agent(["python3", "/tmp/command.py", "--task", "Go on."])
    assert run.check().output.endswith("Done.\\n")
    print("MODE", agent_llm.mode, len(agent_llm.calls))
"""
# The tools print what is new in every sandbox: where the LLM is, and the token.
REPLIES = [
    say("", tool("run", command="env | grep -E 'OPENAI|PHRASE' | sort; date; hostname")),
    say("Done."),
]
COMMAND_REPLIES = [
    say("", tool("shell", command="env | grep -E 'OPENAI' | sort; date; hostname")),
    say("Done."),
]


def reply(request):
    turn = sum(message["role"] == "assistant" for message in request.messages)
    is_acp = any(one["function"]["name"] == "run" for one in request.body["tools"])
    return (REPLIES if is_acp else COMMAND_REPLIES)[turn]


def test_a_replay_needs_no_provider(project: Project) -> None:
    project.write("test_it.py", SUITE)
    with serving(Provider(reply)) as provider:
        project.environment |= {
            "LLM_MODEL": "openai/gpt-4o",
            "LLM_API_KEY": provider.token,
            "LLM_BASE_URL": provider.base_url("127.0.0.1"),
        }
        code, output = project.run("-s")
        assert code == 0
        assert "MODE recorded 4" in output
    text = (project.folder / "cassettes/test_it/test_both.json").read_text("utf-8")
    assert set(json.loads(text)["lanes"]) == {"1", "run-1"}
    assert "http://" not in text
    assert "open up now" not in text
    for name in ("LLM_MODEL", "LLM_API_KEY", "LLM_BASE_URL"):
        del project.environment[name]
    project.environment["CI"] = "true"
    code, output = project.run("-s")
    assert code == 0
    assert "MODE replayed 4" in output
