"""The engine's connection fails; this module has its engine behind a proxy that can be cut."""

from __future__ import annotations

import contextlib
import os

import pytest

from pytest_agent_sandbox import LLM, DockerWorkspace, RemoteConversation, default_agent, say, tool
from pytest_agent_sandbox.containers.engine import ContainerEngine
from tests.support.fake_engine import EngineProxy


@pytest.fixture
def proxy():
    proxy = EngineProxy("/var/run/docker.sock")
    yield proxy
    proxy.close()


@pytest.fixture
def behind(proxy, agent_llm, sandbox_image):
    """A conversation in a sandbox of an engine behind the proxy, its tool call begun."""
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(ContainerEngine.connect(proxy.address))
        workspace = DockerWorkspace(server_image=sandbox_image, engine=engine, labels=LABELS)
        stack.callback(_remove, workspace)
        agent_llm.script([tool("terminal", command="echo begun; sleep 3"), say("Done.")])
        agent, _ = agent_llm.connect(
            default_agent(LLM(model="x")), workspace.gateway, script=None, name="1", known={}
        )
        conversation = stack.enter_context(RemoteConversation(workspace, agent))
        conversation.send_message("Go.")
        conversation.run(blocking=False)
        while not conversation.events.tool_calls():
            conversation._closed.wait(0.02)
        yield conversation


LABELS = {"fault": os.environ["FAULT_ROWS"][-40:].replace("/", "-")}


def _remove(workspace) -> None:
    """By another way: the proxy may be gone."""
    import docker

    with contextlib.suppress(Exception):
        workspace.close()
    client = docker.from_env()
    with contextlib.suppress(docker.errors.NotFound):
        client.api.remove_container(workspace.container.id, v=True, force=True)
    client.close()


def test_engine_gone(behind, proxy, fault):
    fault.later(proxy.close)
    fault.during(lambda: behind.wait(timeout=60))


def test_engine_away_for_a_moment(behind, proxy, fault):
    fault.later(proxy.cut)
    fault.during(lambda: behind.wait(timeout=60))
    assert behind.events.final_message == "Done."
