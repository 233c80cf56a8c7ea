"""A container that somebody has paused answers nothing; that is said, and in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pytest_agent_sandbox.client.agents import default_agent
from pytest_agent_sandbox.client.commands import run_command
from pytest_agent_sandbox.client.conversation import RemoteConversation
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.engines.docker.workspace import DockerWorkspace
from pytest_agent_sandbox.errors import SandboxPaused

from .scripted_llm import ScriptedLLM, say


@pytest.fixture(scope="module")
def own(engine: ContainerEngine, agent_server_image: str) -> Iterator[DockerWorkspace]:
    """A workspace whose container these tests pause."""
    with DockerWorkspace(server_image=agent_server_image, engine=engine) as workspace:
        workspace.execute_command("true")
        yield workspace


def seconds_until_said(ask: Callable[[], object], name: str) -> float:
    began = time.monotonic()
    with pytest.raises(SandboxPaused, match=rf"{name} is paused.*docker unpause"):
        ask()
    return time.monotonic() - began


def test_a_command_and_a_run_in_a_paused_container(
    engine: ContainerEngine, own: DockerWorkspace, llm: ScriptedLLM
) -> None:
    with RemoteConversation(own, default_agent(llm.llm())) as conversation:
        conversation.send_message("Hello.")
        engine.client.api.pause(own.container.id)
        try:
            for timeout in (1.0, 2.0):
                took = seconds_until_said(
                    lambda t=timeout: own.execute_command("echo hi", timeout=t), own.name
                )
                assert timeout <= took < timeout + 3
            took = seconds_until_said(lambda: conversation.run(timeout=2.0), own.name)
            assert 2.0 <= took < 5.0
        finally:
            engine.client.api.unpause(own.container.id)
    assert own.execute_command("echo hi").check().stdout == "hi\n"


def test_a_run_after_the_server_has_prepared_for_a_pause(
    engine: ContainerEngine, own: DockerWorkspace, llm: ScriptedLLM
) -> None:
    llm.script(say("Hello."))
    with RemoteConversation(own, default_agent(llm.llm())) as conversation:
        own.connection.request("POST", "/api/conversations/prepare-for-sandbox-pause")
        engine.client.api.pause(own.container.id)
        engine.client.api.unpause(own.container.id)
        conversation.send_message("Hello?")
        conversation.run(timeout=25)
        assert conversation.status == "finished"
        assert conversation.events.final_message == "Hello."


def test_a_pause_while_something_runs(engine: ContainerEngine, own: DockerWorkspace) -> None:
    def pause_while_it_runs(text: str) -> None:
        engine.client.api.pause(own.container.id)

    try:
        took = seconds_until_said(
            lambda: run_command(
                own.connection,
                "echo begun; sleep 30",
                cwd="/",
                timeout=4.0,  # also a busy machine tells of the output before
                on_output=pause_while_it_runs,
            ),
            own.name,
        )
        assert 4.0 <= took < 7.0
    finally:
        engine.client.api.unpause(own.container.id)


def test_a_pause_that_ends_in_time_does_no_harm(
    engine: ContainerEngine, own: DockerWorkspace
) -> None:
    engine.client.api.pause(own.container.id)
    timer = threading.Timer(0.8, engine.client.api.unpause, [own.container.id])
    timer.start()
    try:
        assert own.execute_command("echo hi", timeout=20).check().stdout == "hi\n"
    finally:
        timer.join()
