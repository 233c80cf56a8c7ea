"""A server that is started anew, and a conversation that goes on in another sandbox."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from pytest_agent_sandbox import DockerWorkspace
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import SandboxPaused
from tests.support.project import Project

pytestmark = pytest.mark.usefixtures("agent_server_image")

RESTART = """
import pytest, time
from pytest_agent_sandbox import RemoteConversation, say, tool
from pytest_agent_sandbox.errors import SandboxError

SECRET = "token-of-the-conversation"

def answers(conversation):
    return [event.text.strip() for event in conversation.events
            if event.kind == "ObservationEvent"]

def talk(factory, workspace):
    length = tool("terminal", command="echo ${TOKEN}x | wc -c")
    return factory(workspace=workspace, script=[length, say("one"), length, say("two")],
                   secrets={"TOKEN": SECRET})

def go_on(conversation):
    conversation.send_message("Go.")
    conversation.run(timeout=60)

def server(workspace):
    return workspace.execute_command("echo $PPID; cat /proc/$PPID/stat | cut -d' ' -f22").stdout

LEVELS = [{}, {"isolation": "recycled"}]
"""

RESTARTED = """
@pytest.mark.parametrize("level", LEVELS)
def test_restart(agent_workspace_factory, agent_conversation, level):
    workspace = agent_workspace_factory(forward_env=["FORWARDED"], **level)
    workspace.write_text("kept.txt", "kept")
    workspace.execute_command("setsid sleep 1234 >/dev/null 2>&1 &")
    conversation = talk(agent_conversation, workspace)
    go_on(conversation)
    first = server(workspace)
    workspace.restart(timeout=60)
    assert server(workspace) != first
    assert workspace.read_text("kept.txt") == "kept"
    assert workspace.execute_command("echo $FORWARDED").stdout == "by the host\\n"
    assert workspace.execute_command("pgrep -c -f '^sleep 1234'").stdout == "1\\n"
    go_on(conversation)
    joined = RemoteConversation.attach(workspace, conversation.id)
    joined.close()
    for one in (conversation, joined):
        assert answers(one) == [str(len(SECRET) + 2)] * 2

def test_a_server_that_the_agent_ends_is_not_started_anew(agent_workspace):
    agent_workspace.execute_command("(sleep 0.2; pkill -KILL -x agent-server) >/dev/null 2>&1 &")
    assert agent_workspace.container.wait_for_end(10)
    with pytest.raises(SandboxError, match="exited with code 137"):
        agent_workspace.restart()
"""

ELSEWHERE = """
def assert_key_reaches_no_file(workspace):
    look = "cat /proc/*/environ 2>/dev/null | tr '\\\\0' '\\\\n' | grep -c -e SECRET_KEY -e SESSION"
    assert workspace.execute_command(look).stdout == "0\\n"
    attributes = str(workspace.engine.client.api.inspect_container(workspace.container.id))
    assert "a-key-that-is" not in attributes
    assert workspace.session_key.get_secret_value() not in attributes

@pytest.mark.parametrize("end", ["closed", "killed"])
def test_elsewhere(agent_workspace_factory, agent_conversation, end):
    settings = {"volumes": [VOLUME + ":/workspace"], "secret_key_env": "KEY_OF_THE_TEST"}
    # Both are there, so that nothing but the lease is waited for.
    second = agent_workspace_factory(**settings)
    first = agent_workspace_factory(**settings)
    assert_key_reaches_no_file(first)
    conversation = talk(agent_conversation, first)
    go_on(conversation)
    if end == "killed":
        first.engine.client.api.kill(first.container.id)
    else:
        first.close()
    # A server finds out what there is when it starts.
    second.restart()
    began = time.monotonic()
    joined = RemoteConversation.attach(second, conversation.id)
    assert time.monotonic() - began < 3
    go_on(joined)
    assert answers(joined) == [str(len(SECRET) + 2)] * 2
    joined.close()
"""


@pytest.fixture
def volume(engine: ContainerEngine) -> Iterator[str]:
    volume = engine.client.volumes.create(labels={"pytest-agent-sandbox.test": "restart"})
    yield str(volume.name)
    volume.remove()


def test_a_restarted_server_has_all_that_it_kept(project: Project) -> None:
    project.environment["FORWARDED"] = "by the host"
    project.write("test_it.py", RESTART + RESTARTED)
    code, _ = project.run()
    assert code == 0


def test_a_conversation_goes_on_in_another_sandbox(project: Project, volume: str) -> None:
    project.environment["KEY_OF_THE_TEST"] = "a-key-that-is-long-enough-for-it"
    project.write("test_it.py", f"VOLUME = {volume!r}" + RESTART + ELSEWHERE)
    code, _ = project.run()
    assert code == 0


@pytest.mark.parametrize("fate", ["kept", "paused"])
def test_a_server_that_is_not_to_end_is_not_waited_for(
    engine: ContainerEngine, agent_server_image: str, volume: str, fate: str
) -> None:
    workspace = DockerWorkspace(
        server_image=agent_server_image, engine=engine, volumes=[f"{volume}:/workspace"]
    )
    api, container = engine.client.api, workspace.container
    try:
        if fate == "kept":
            workspace.keep()
        else:
            workspace.pause()
            with pytest.raises(SandboxPaused):
                workspace.restart()
        began = time.monotonic()
        workspace.close()
        assert time.monotonic() - began < 2.5
        if fate == "kept":
            asked = api.exec_create(container.id, ["pgrep", "-x", "agent-server"])["Id"]
            assert api.exec_start(asked).strip(), "people want to look into it"
    finally:
        if fate == "kept":
            api.remove_container(container.id, force=True, v=True)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "secret_key_env: the variable KEY_OF_THE_TEST is not set"),
        ("short", "secret_key_env: the variable KEY_OF_THE_TEST has fewer than 16 characters"),
    ],
)
def test_a_key_that_is_none(project: Project, value: str | None, reason: str) -> None:
    if value is not None:
        project.environment["KEY_OF_THE_TEST"] = value
    project.write("test_it.py", "def test_it(agent_workspace): pass\n")
    code, output = project.run("--sandbox-secret-key-env=KEY_OF_THE_TEST")
    assert code == 1
    assert reason in output
