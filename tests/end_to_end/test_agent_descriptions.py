"""The ways to describe an agent, each taken by a real agent server."""

from pathlib import Path

import pytest

from tests.support.project import outcomes

PROGRAM = Path(__file__).parent / "agents" / "acp_program.py"

SUITE = (
    f"""
import json
import pytest
from pytest_agent_sandbox import LLM, Agent, Tool, say, tool

PYTHON = "/agent-server/.venv/bin/python"
PROGRAM = {str(PROGRAM)!r}
"""
    """
@pytest.fixture
def check(agent_llm, agent_conversation):
    def check(agent):
        prompts = []
        def first(request):
            prompts.append(str(request.body["messages"][0]["content"]))
            return tool("terminal", command="echo from the agent")
        agent_llm.script([first, say("Done.")])
        conversation = agent_conversation(agent)
        conversation.send_message("Go on.")
        conversation.run(timeout=60)
        (call,) = conversation.events.tool_calls()
        assert call.result.startswith("from the agent")
        return prompts[0]
    return check

def test_ours(check):
    agent = Agent(
        llm=LLM(model="openai/any", temperature=0.1),
        tools=[Tool(name="terminal")],
        system_prompt="You are Ada.",
    )
    assert "You are Ada." in check(agent)

def test_a_dict(check):
    agent = {
        "llm": {"model": "openai/any", "usage_id": "agent"},
        "tools": [{"name": "terminal"}],
        "system_prompt": "You are Bob.",
    }
    assert "You are Bob." in check(agent)

class Made:
    '''As the SDK's own class is where that can be installed: it tells its keys when asked so.'''

    def __init__(self, workspace, code):
        code = "import json\\n" + code + '''
agent_json = {key: agent.model_dump(mode="json", context={"expose_secrets": key == "clear"})
              for key in ("clear", "masked")}
print("JSON" + json.dumps(agent_json))
'''
        workspace.write_text("/tmp/make.py", code)
        printed = workspace.execute_command(f"{PYTHON} /tmp/make.py", timeout=60).check().stdout
        self._json = json.loads(printed.partition("JSON")[2])

    def model_dump(self, *, mode, context):
        assert mode == "json"
        return self._json["clear" if context.get("expose_secrets") else "masked"]

def test_one_of_the_sdk(agent_workspace, check):
    agent = Made(agent_workspace, '''
from openhands.sdk import LLM, Agent, Tool
from pydantic import SecretStr
agent = Agent(
    llm=LLM(model="openai/any", usage_id="agent", api_key=SecretStr("sk-never-used")),
    tools=[Tool(name="terminal")],
    system_prompt="You are Cleo.",
)
''')
    assert agent.model_dump(mode="json", context={})["llm"]["api_key"] != "sk-never-used"
    assert "You are Cleo." in check(agent)

def test_an_acp_agent_of_the_sdk(agent_workspace, agent_llm, agent_conversation):
    agent_workspace.upload(PROGRAM, "/tmp/agent.py")
    agent = Made(agent_workspace, f'''
from openhands.sdk.agent import ACPAgent
agent = ACPAgent(acp_command=[{PYTHON!r}, "/tmp/agent.py"])
''')
    agent_llm.script([tool("run", command="echo from the agent"), say("Done.")])
    conversation = agent_conversation(agent)
    conversation.send_message("Go on.")
    conversation.run(timeout=60)
    assert conversation.events.tool_calls()[0].result == "from the agent\\n"
"""
)


@pytest.mark.usefixtures("served")
def test_each_way(project):
    project.write("test_it.py", SUITE)
    _, output = project.run("-v", "--no-sandbox-live")
    found = outcomes(output)
    assert len(found) == 4
    assert set(found.values()) == {"PASSED"}
