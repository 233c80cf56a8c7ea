"""A live LLM: reached through the gateway, so that its key never enters the sandbox."""

import pytest

from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.replies import say, tool
from pytest_agent_sandbox.llm.script import Script

TEST = """
from pytest_agent_sandbox import say, tool

def test_live(agent_workspace, agent_llm, agent_conversation):
    conversation = agent_conversation()
    conversation.send_message("Write hello to hello.txt.")
    conversation.run(timeout=60)
    assert conversation.status == "finished"
    assert agent_llm.mode == "live"
    assert len(agent_llm.calls) == 2
    assert conversation.cost > 0
    assert conversation.tokens.prompt_tokens > 0
    print(agent_workspace.read_text("hello.txt"))
    print(agent_workspace.execute_command("env; cat /proc/*/environ").stdout)
    assert 0, "to keep the evidence"

def test_forwarded(agent_conversation):
    conversation = agent_conversation(script=[tool("terminal", command="env | sort"), say("ok")])
    conversation.send_message("Go.")
    conversation.run(timeout=60)
    assert 0, "to keep the evidence"
"""


@pytest.fixture
def provider():
    """A provider of this machine's own: the gateway plays it."""
    script = Script([tool("terminal", command="env; echo hello > hello.txt"), say("Done.")])
    with Gateway() as gateway:
        yield gateway.open_lane(script)


@pytest.mark.usefixtures("agent_server_image")
@pytest.mark.usefixtures("recycled")
def test_the_key_stays_on_this_machine_and_a_forwarded_secret_is_in_no_evidence(project, provider):
    project.environment |= {
        "MY_TOKEN": "very-secret-value",
        "MY_PLACE": "/some/ordinary/path",
        "LLM_MODEL": "openai/gpt-4o-mini",
        "LLM_API_KEY": provider.token,
        "LLM_BASE_URL": provider.base_url("127.0.0.1"),
    }
    project.write("test_it.py", TEST)
    code, output = project.run(
        "-rs", "--llm-record=live", "--sandbox-forward-env=MY_TOKEN,MY_PLACE"
    )
    assert code == 1
    assert output.count("E       AssertionError: to keep the evidence") == 2
    assert "hello" in output
    provider.verify()
    assert provider.token not in output
    assert len(project.results) == 2
    for folder in project.results:
        for file in folder.iterdir():
            assert provider.token not in file.read_text("utf-8"), file
        events = (folder / "events.jsonl").read_text("utf-8")
        assert "/some/ordinary/path" in events
        assert "MY_TOKEN=***" in events
        assert "very-secret-value" not in events + output


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("mistral/large", "set LLM_BASE_URL"),
        ("azure/gpt-4o", "azure/ is nothing that the LLM gateway serves"),
    ],
)
def test_a_model_that_cannot_be_asked_is_a_clear_error(project, model, told):
    project.environment |= {"LLM_MODEL": model, "LLM_API_KEY": "sk-not-a-real-key"}
    project.write("test_it.py", TEST)
    _, output = project.run()
    assert "SettingsError" in output
    assert told in output
    assert "fault: the test" in output
    assert "sk-not-a-real-key" not in output
