"""Tests as users annotate them: mypy --strict and pyright's strict mode accept each line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_agent_sandbox import (
    LLM,
    AgentLLM,
    CommandResult,
    ConversationFactory,
    DockerWorkspace,
    Entry,
    Event,
    EventLog,
    LLMCall,
    LLMEndpoint,
    LLMRequest,
    RemoteConversation,
    Reply,
    SandboxDied,
    SandboxSettings,
    ServiceUnavailable,
    SettingsError,
    Skill,
    ToolCall,
    Workspace,
    WorkspaceFactory,
    default_agent,
    delay,
    error,
    expect,
    say,
    tool,
    trajectory,
)


@pytest.fixture
def project(agent_workspace: Workspace) -> Workspace:
    agent_workspace.write_text("README.md", "# demo\n")
    return agent_workspace


@pytest.fixture
def conversation(
    agent_llm: AgentLLM, agent_conversation: ConversationFactory
) -> Iterator[RemoteConversation]:
    agent_llm.script([tool("terminal", command="cat README.md"), say("It is a demo.")])
    with agent_conversation() as opened:
        yield opened


def test_a_conversation(project: Workspace, conversation: RemoteConversation) -> None:
    conversation.send_message("What is it?")
    conversation.run(timeout=120)
    assert conversation.status == "finished"
    events: EventLog = conversation.events
    calls: list[ToolCall] = events.tool_calls("terminal")
    assert [call.arguments["command"] for call in calls] == ["cat README.md"]
    assert events.final_message == "It is a demo."
    assert trajectory(conversation)
    expect(conversation).called_tool("terminal", command="cat README.md").at_most(
        steps=5
    ).finished()
    expect(project).has_file("README.md", "# demo\n")


def test_what_the_llm_is_asked(
    agent_workspace: Workspace, agent_llm: AgentLLM, agent_conversation: ConversationFactory
) -> None:
    seen: list[Event] = []

    agent = default_agent(LLM(model="gpt-4o"))
    skill = Skill("greeting", "Say hello first.")
    script: list[Entry] = [error(429, headers={"retry-after": "0"}), delay(0.1, say("Hello."))]
    conversation = agent_conversation(
        agent,
        workspace=agent_workspace,
        script=script,
        callbacks=[seen.append],
        secrets={"TOKEN": "a-secret-value"},
        skills=[skill],
    )
    conversation.send_message("Hello?")
    conversation.run()
    calls: list[LLMCall] = agent_llm.calls
    assert [call.status for call in calls] == [429, 200]
    assert agent_llm.mode != "live"
    assert agent_llm.usage.tokens > 0
    assert seen


def test_a_function_answers(agent_llm: AgentLLM, agent_conversation: ConversationFactory) -> None:
    def count(request: LLMRequest) -> Reply:
        return say(f"{len(request.messages)} messages, the last: {request.last_message}")

    agent_llm.script([count])
    conversation = agent_conversation()
    conversation.send_message("How many?")
    conversation.run()
    assert (conversation.events.final_message or "").endswith("How many?")


def test_a_workspace(project: Workspace, tmp_path: Path) -> None:
    result: CommandResult = project.execute_command("ls", timeout=10, env={"LANG": "C"})
    assert result.check().stdout.split() == ["README.md"]
    project.upload(tmp_path, "empty")
    project.download("README.md", tmp_path / "README.md")
    assert project.read_bytes("README.md") == b"# demo\n"
    with pytest.raises(ServiceUnavailable):
        project.vscode_url()


def test_more_than_one(agent_workspace_factory: WorkspaceFactory) -> None:
    with pytest.raises(SettingsError, match="unknown setting 'memroy'"):
        agent_workspace_factory(memroy="1g")
    workspace: Workspace = agent_workspace_factory(memory="1g")
    with pytest.raises(FileNotFoundError):
        workspace.read_text("missing.txt")


def test_a_program(agent_workspace: Workspace, agent_llm: AgentLLM) -> None:
    endpoint: LLMEndpoint = agent_llm.endpoint(agent_workspace, script=[])
    assert endpoint.base_url.startswith("http")


def test_settings(sandbox_settings: SandboxSettings, sandbox_image: str, agent_trial: int) -> None:
    assert sandbox_settings.memory == "2g"
    assert sandbox_settings.isolation in ("fresh", "recycled", "shared")
    assert sandbox_image
    assert agent_trial == 1


async def in_an_event_loop(
    agent_workspace_factory: WorkspaceFactory, agent_conversation: ConversationFactory
) -> str:
    async with await agent_workspace_factory.astart(memory="1g") as workspace:
        result = await workspace.aexecute_command("pwd", timeout=10)
        conversation = await agent_conversation.astart(workspace=workspace, script=[say("Hi.")])
        await conversation.asend_message("Hello.")
        await conversation.arun(timeout=60)
        return result.stdout + await workspace.aread_text("notes.txt", timeout=5)


def without_pytest() -> str:
    try:
        return _in_a_sandbox()
    except SandboxDied as died:
        return f"{died.exit_code}: {died.log}"


def _in_a_sandbox() -> str:
    with DockerWorkspace(memory="1g", network="isolated") as workspace:
        return workspace.execute_command("pwd").stdout
