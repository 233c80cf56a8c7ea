"""Closing a conversation, whatever it is doing."""

from __future__ import annotations

import contextlib
import threading
import time

import docker
import pytest

from pytest_agent_sandbox.client.agents import default_agent
from pytest_agent_sandbox.client.conversation import RemoteConversation
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import ServerError
from tests.support.timing import eventually, measured

from .conversing import Converse, in_background, tool_is_running
from .scripted_llm import ScriptedLLM, say, tool
from .server import Server


def test_closing_takes_no_time(converse: Converse, llm: ScriptedLLM) -> None:
    conversation = converse(callbacks=[lambda event: None])
    with measured(at_most=0.1):
        conversation.close()
    conversation.close()
    with pytest.raises(ServerError, match="closed"):
        conversation.send_message("go")


def test_closing_takes_no_time_while_a_tool_runs(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(tool("terminal", command="sleep 5"), say("Done."))
    before = set(threading.enumerate())
    conversation = converse(callbacks=[lambda event: None])
    conversation.send_message("go")
    finished = in_background(conversation.run)
    eventually(lambda: tool_is_running(conversation))
    with measured(at_most=0.1):
        conversation.close()
    assert isinstance(finished(), ServerError)
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("fate", ["paused", "dead"])
def test_closing_takes_no_time_whatever_became_of_the_server(
    fate: str, fresh_server: Server, llm: ScriptedLLM
) -> None:
    before = set(threading.enumerate())
    with (
        contextlib.closing(docker.from_env()) as engine,
        RemoteWorkspace(fresh_server.host, fresh_server.api_key) as workspace,
    ):
        conversation = RemoteConversation(workspace, default_agent(llm.llm()))
        container = engine.containers.get(fresh_server.container_id)
        if fate == "paused":
            container.pause()
        else:
            container.kill()
            time.sleep(0.3)
        with measured(at_most=0.1):
            conversation.close()
        assert set(threading.enumerate()) <= before
