"""What upstream's programs do with a live server, written here as their users would write it.

tests/client/test_verbs.py and test_resources.py have each call by itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from pytest_agent_sandbox import (
    LLM,
    Agent,
    Conversation,
    DockerWorkspace,
    RemoteConversation,
    Tool,
    get_default_agent,
)
from pytest_agent_sandbox.llm.entries import Entry
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.replies import say, tool
from pytest_agent_sandbox.llm.script import Script

PYTHON = "/agent-server/.venv/bin/python"
#: A tool as a module of the server's Python has it.
OWLS = """
from openhands.sdk.tool import Action, Observation, ToolDefinition, ToolExecutor, register_tool

class CountAction(Action):
    wood: str

class CountObservation(Observation):
    pass

class Count(ToolExecutor):
    def __call__(self, action, conversation=None):
        return CountObservation.from_text(f"Seven owls are in the {action.wood}.")

class CountOwls(ToolDefinition[CountAction, CountObservation]):
    @classmethod
    def create(cls, conv_state=None, **params):
        return [cls(
            description="Counts owls.", action_type=CountAction,
            observation_type=CountObservation, executor=Count(),
        )]

register_tool("CountOwls", CountOwls)
"""
SKILL = "---\nname: owls\ndescription: Of owls.\ntriggers:\n- hoot\n---\nOwls eat mice at night.\n"

Start = Callable[..., RemoteConversation]


@pytest.fixture
def workspace(running_server: DockerWorkspace) -> DockerWorkspace:
    return running_server


@pytest.fixture
def asked() -> list[str]:
    """The requests to the LLM, as texts."""
    return []


@pytest.fixture
def llm(asked: list[str]) -> Iterator[Callable[..., LLM]]:
    """Makes LLMs whose provider answers with a script."""

    def noting(entry: Entry) -> Entry:
        def answer(request: Any) -> Any:
            asked.append(str(request.body))
            return entry

        return answer

    with Gateway() as gateway:

        def make(*replies: Entry, **settings: Any) -> LLM:
            provider = gateway.open_lane(Script([noting(one) for one in replies]))
            return LLM(
                model="openai/gpt-4o-mini",
                api_key=provider.token,
                base_url=provider.base_url("127.0.0.1"),
                **settings,
            )

        yield make


@pytest.fixture
def start(workspace: DockerWorkspace) -> Iterator[Start]:
    """Starts conversations that are closed and forgotten in the end."""
    with ExitStack() as closing:

        def start(agent: object, **given: Any) -> RemoteConversation:
            conversation = Conversation(
                agent=agent, workspace=workspace, delete_on_close=True, **given
            )
            return closing.enter_context(conversation)

        yield start


def test_an_agent_that_asks_before_it_takes_a_risk(
    workspace: DockerWorkspace, llm: Callable[..., LLM], start: Start
) -> None:
    agent = get_default_agent(
        llm(
            tool("terminal", command="echo a > low.txt", security_risk="LOW"),
            tool("terminal", command="rm low.txt", security_risk="HIGH"),
            say("I keep it."),
        ),
        cli_mode=True,
    )
    conversation = start(agent, max_iteration_per_run=10)
    conversation.set_security_analyzer({"kind": "LLMSecurityAnalyzer"})
    conversation.set_confirmation_policy({"kind": "ConfirmRisky"})
    state = conversation.state
    assert state.confirmation_policy["kind"] == "ConfirmRisky"
    assert (state.security_analyzer or {})["kind"] == "LLMSecurityAnalyzer"
    conversation.send_message("Clean up.")
    conversation.run()
    while state.execution_status == "waiting_for_confirmation":
        assert state.events.tool_calls()[-1].risk == "HIGH"
        conversation.reject("It is needed.")
        conversation.run()
    assert [event.kind for event in state.events].count("UserRejectObservation") == 1
    assert workspace.read_text("low.txt") == "a\n"
    assert (state.agent["kind"], state.max_iterations) == ("Agent", 10)
    assert state.workspace["working_dir"] == workspace.working_dir
    assert state.persistence_dir


def test_what_a_conversation_is_given(
    workspace: DockerWorkspace, llm: Callable[..., LLM], start: Start, asked: list[str]
) -> None:
    """A plugin, a described tool, a sub-agent, callbacks for tokens, and what it is called."""
    workspace.write_text("birds/.plugin/plugin.json", '{"name": "birds", "version": "1.0.0"}')
    workspace.write_text("birds/skills/owls/SKILL.md", SKILL)
    sub_agent = {
        "name": "owl",
        "description": "Watches the wood.",
        "tools": [],
        "system_prompt": "You are an owl.",
    }
    agent = Agent(
        llm=llm(
            tool("blink", eye="left"),
            tool("task", prompt="What do you see?", subagent_type="owl"),
            say("I see a mouse."),  # the sub-agent
            say("The owl sees a mouse."),
            stream=True,
        ),
        tools=[Tool(name="task_tool_set")],
    )
    tokens: list[Any] = []
    identity = str(uuid.uuid4())
    conversation = start(
        agent,
        conversation_id=identity,
        plugins=[{"source": workspace.path("birds")}],
        client_tools=[
            {
                "name": "blink",
                "description": "Blinks.",
                "parameters": {"type": "object", "properties": {"eye": {"type": "string"}}},
            }
        ],
        token_callbacks=[tokens.append],
        tags={"suite": "nightly"},
        user_id="somebody",
        stuck_detection=False,
        request={"agent_definitions": [sub_agent]},
    )
    conversation.send_message("Please hoot.")
    conversation.run()
    assert str(conversation.state.id) == conversation.id == identity
    assert "Owls eat mice at night." in asked[0]
    assert conversation.state.activated_knowledge_skills == ["owls"]
    assert conversation.events.tool_calls("blink")[0].arguments["eye"] == "left"
    assert "You are an owl." in asked[2]
    assert "I see a mouse." in str(conversation.events.tool_calls("task")[0].result)
    pieces = [one.choices[0].delta.content or "" for one in tokens]
    assert "The owl sees a mouse." in "".join(pieces)
    info = workspace.server.conversations.get(identity)
    assert info["tags"] == conversation.state.tags == {"suite": "nightly"}
    assert info["stuck_detection"] is False


def test_a_tool_of_a_module(
    workspace: DockerWorkspace, llm: Callable[..., LLM], start: Start
) -> None:
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = workspace.execute_command(f'{PYTHON} -c "{where}"').check().stdout.strip()
    workspace.write_text(f"{packages}/owls_of_a_test.py", OWLS)
    script = [tool("count_owls", wood="oaks"), say("Seven.")]
    conversation = start(
        Agent(llm=llm(*script), tools=[Tool(name="CountOwls")]),
        request={"tool_module_qualnames": {"CountOwls": "owls_of_a_test"}},
    )
    conversation.send_message("How many?")
    conversation.run()
    (call,) = conversation.events.tool_calls("count_owls")
    assert call.result == "Seven owls are in the oaks."


def test_a_conversation_that_is_gone_on_with(
    workspace: DockerWorkspace, llm: Callable[..., LLM], start: Start
) -> None:
    agent = get_default_agent(llm(say("Hello."), say("Twice."), say("Again.")), cli_mode=True)
    conversation = start(agent)
    conversation.send_message("Hello?")
    conversation.run()
    assert conversation.final_response() == "Hello."
    assert conversation.ask_agent("How often were you asked?") == "Twice."
    conversation.set_title("A greeting")
    assert workspace.server.conversations.get(conversation.id)["title"] == "A greeting"
    fork = conversation.fork(title="Another", tags={"of": "greeting"})
    fork.send_message("Hello again?")
    fork.run()
    assert fork.final_response() == "Again."
    assert fork.state.tags["of"] == "greeting"
    assert len(conversation.events.messages("agent")) == 1
    known = {one["id"] for one in workspace.server.conversations.search()}
    assert {conversation.id, fork.id} <= known
    workspace.server.conversations.delete(fork.id)


def test_repositories_and_commands_of_a_workspace(
    workspace: DockerWorkspace, llm: Callable[..., LLM], start: Start, asked: list[str]
) -> None:
    git = "git -c user.name=a -c user.email=a@b -c init.defaultBranch=main"
    workspace.execute_command(
        f"mkdir -p /tmp/wood && cd /tmp/wood && {git} init -q && echo 1 > owls && git add . && "
        f"{git} commit -qm one && git tag v1 && {git} checkout -qb more && echo 2 > owls && "
        f"{git} commit -qam two && git checkout -q main"
    ).check()
    result = workspace.clone_repos(
        [
            {"url": "file:///tmp/wood", "ref": "v1"},
            {"url": "/tmp/wood", "ref": "more"},
            "file:///tmp/none",
        ],
        target_dir="cloned",
    )
    assert (result.success_count, result.failed_repos) == (2, ["file:///tmp/none"])
    assert "not appear to be a git repository" in result.errors["file:///tmp/none"]
    with pytest.raises(AssertionError, match="Not all repositories were cloned"):
        result.check()
    assert workspace.read_text("cloned/wood/owls") == "1\n"
    assert workspace.read_text("cloned/wood_1/owls") == "2\n"
    workspace.write_text("cloned/wood/owls", "3\n")
    assert [one.path for one in workspace.git_changes("cloned/wood")] == ["owls"]

    conversation = start(get_default_agent(llm(say("I see.")), cli_mode=True))
    conversation.send_message(workspace.get_repos_context(result.repo_mappings) + "Look at them.")
    conversation.run()
    assert f"{workspace.working_dir}/cloned/wood_1" in asked[0]

    command = workspace.start_command("echo begun; sleep 60")
    while "begun" not in command.printed().stdout:
        assert command.result is None
    command.stop()
    workspace.server.secrets.set("A_TOKEN", "hush-hush")
    assert "A_TOKEN" in [one["name"] for one in workspace.server.secrets.list()]
    workspace.server.secrets.delete("A_TOKEN")
