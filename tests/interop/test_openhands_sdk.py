"""The real openhands-sdk, in a sandbox that this plugin started."""

from __future__ import annotations

import pytest

from pytest_agent_sandbox import DockerWorkspace
from pytest_agent_sandbox.errors import SettingsError

#: Upstream's example of a sandboxed server, as a test: its own conversation, agent and callbacks.
EXAMPLE = """
import time

import pytest
from openhands.sdk import LLM, Conversation, RemoteConversation
from openhands.tools.preset.default import get_default_agent

from pytest_agent_sandbox import say, tool

@pytest.mark.parametrize("facts", [3, 4])
def test_convo_with_sandboxed_server(agent_workspace, agent_llm, facts):
    agent_workspace.write_text("README.md", "# demo\\n")
    replies = iter([
        tool("terminal", command="seq 3 > FACTS.txt"),
        say("I wrote three facts."),
        tool("terminal", command="rm FACTS.txt"),
        say("It is deleted."),
    ])
    # The SDK has a title made of the first message, at any time.
    agent_llm.script(
        [lambda request: next(replies) if request.tools else say("A title")] * 5
    )
    endpoint = agent_llm.endpoint(agent_workspace)
    llm = LLM(
        usage_id="agent",
        model=endpoint.model,
        base_url=endpoint.base_url,
        api_key=endpoint.api_key,
        input_cost_per_token=0.001,
        output_cost_per_token=0.001,
    )
    agent = get_default_agent(llm=llm, cli_mode=True)
    received = []
    last = {"ts": time.time()}

    def event_callback(event):
        received.append(event)
        last["ts"] = time.time()

    workspace = agent_workspace.as_openhands()
    result = workspace.execute_command("echo 'Hello from sandboxed environment!' && pwd")
    assert result.exit_code == 0
    assert "Hello from sandboxed environment!" in result.stdout
    conversation = Conversation(agent=agent, workspace=workspace, callbacks=[event_callback])
    assert isinstance(conversation, RemoteConversation)
    try:
        conversation.send_message(
            "Read the current repo and write 3 facts about the project into FACTS.txt."
        )
        conversation.run()
        assert conversation.state.execution_status.value == "finished"
        assert agent_workspace.read_text("FACTS.txt").count("\\n") == facts
        while time.time() - last["ts"] < 0.5:
            time.sleep(0.1)
        conversation.send_message("Great! Now delete that file.")
        conversation.run()
        assert "FACTS.txt" not in agent_workspace.execute_command("ls").stdout
        assert conversation.conversation_stats.get_combined_metrics().accumulated_cost > 0
    finally:
        conversation.close()
    assert received

def test_without_as_openhands(agent_workspace):
    agent = get_default_agent(llm=LLM(model="openai/any", api_key="none"), cli_mode=True)
    Conversation(agent=agent, workspace=agent_workspace)
"""


@pytest.fixture(scope="module")
def sandbox(engine, agent_server_image):
    """A sandbox that the plugin started on this machine."""
    with DockerWorkspace(server_image=agent_server_image, engine=engine) as workspace:
        yield workspace


def test_upstreams_example(sandbox, engine, with_openhands):
    """It passes, and it fails where another number of facts is wanted.

    A workspace that the SDK cannot take is told apart from one that it can.
    """
    code, output = with_openhands(
        "-m",
        "pytest",
        *("-p", "pytest_agent_sandbox.plugin"),  # it is not installed there
        f"--sandbox-url={sandbox.host}",
        f"--sandbox-gateway-address={engine.host_route(None).bind_address}",
        "-p",
        "no:cacheprovider",
        files={"test_it.py": EXAMPLE},
        environment={"SANDBOX_API_KEY": sandbox.session_key.get_secret_value()},
    )
    assert code == 1
    assert "2 failed, 1 passed" in output
    assert "assert 3 == 4" in output
    assert (
        "It takes one of its own: Conversation(workspace=agent_workspace.as_openhands())" in output
    )


def test_without_the_sdk_there_is_a_word_on_how_to_get_it(sandbox):
    with pytest.raises(SettingsError, match="pip install openhands-sdk openhands-tools"):
        sandbox.as_openhands()
