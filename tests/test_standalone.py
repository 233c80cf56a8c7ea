"""`Conversation`, as programs without pytest use it."""

import threading

import pytest

from pytest_agent_sandbox import (
    LLM,
    Agent,
    Conversation,
    DockerWorkspace,
    RemoteWorkspace,
    Skill,
    say,
    tool,
)
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.script import Script


def count_words(text: str) -> int:
    """Counts words."""
    return len(text.split())


def test_a_program_gives_its_agent_tools_and_skills(engine, agent_server_image):
    before = set(threading.enumerate())
    prompts = []

    def first(request):
        prompts.append(str(request.body["messages"][0]))
        return tool("count_words", text="one two three")

    with (
        Gateway() as provider,
        DockerWorkspace(server_image=agent_server_image, engine=engine) as workspace,
    ):
        lane = provider.open_lane(Script([first, say("Three.")]))
        llm = LLM(model="openai/any", base_url=lane.base_url("127.0.0.1"), api_key=lane.token)
        with Conversation(
            Agent(llm=llm),
            workspace,
            client_tools=[count_words],
            skills=[Skill("owls", "Owls are words.")],
        ) as conversation:
            conversation.send_message("Count.")
            conversation.run(timeout=60)
            (call,) = conversation.events.tool_calls("count_words")
            assert call.result.endswith("3")
            assert conversation.events.final_message == "Three."
        lane.verify()
        azure = LLM(model="azure/gpt-4o", base_url="http://127.0.0.1:9/v1", api_key="sk-some-key")
        with pytest.raises(SettingsError, match="openai/gpt-4o and set LLM_BASE_URL"):
            Conversation(Agent(llm=azure), workspace)
    assert "Owls are words." in prompts[0]
    assert set(threading.enumerate()) <= before


def test_a_server_that_cannot_reach_this_process_gets_no_client_tools():
    with (
        RemoteWorkspace("http://127.0.0.1:9") as workspace,
        pytest.raises(SettingsError, match="need a DockerWorkspace"),
    ):
        Conversation(Agent(llm=LLM(model="m")), workspace, client_tools=[count_words])
