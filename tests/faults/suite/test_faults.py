"""Faults of sandboxes, each injected into a real run: tests fail, or are to outlive their fault."""

from __future__ import annotations

import os
import socket

import pytest

from pytest_agent_sandbox import (
    LLM,
    DockerWorkspace,
    RemoteConversation,
    default_agent,
    say,
    tool,
)
from pytest_agent_sandbox.client import run_watch


def api(workspace):
    return workspace.engine.client.api


def inside(workspace, *words, user=None):
    """Runs a command in the container, let in by the engine."""
    found = api(workspace).exec_create(workspace.container.id, list(words), user=user or "")
    return api(workspace).exec_start(found["Id"])


# The server, and what holds it.


def test_server_killed(agent_workspace, working, fault):
    conversation = working()
    fault.later(lambda: inside(agent_workspace, "pkill", "-9", "-f", "openhands.agent_server"))
    fault.during(lambda: conversation.wait(timeout=60))


def test_server_asked_to_end(agent_workspace, working, fault):
    conversation = working(command="echo begun; sleep 3")

    def end():  # it lets the tool go on to its end before
        api(agent_workspace).kill(agent_workspace.container.id, "SIGTERM")
        api(agent_workspace).wait(agent_workspace.container.id)

    fault.later(end, done=True)
    fault.during(lambda: conversation.wait(timeout=60))


def test_server_killed_by_the_agent(agent_workspace, agent_llm, agent_conversation, fault):
    def deadly(request):
        fault.happens()
        return tool("terminal", command="kill -9 -1")

    agent_llm.script([tool("terminal", command="echo begun"), deadly, say("Done.")])
    conversation = agent_conversation()
    conversation.send_message("Go.")
    fault.during(lambda: conversation.run(timeout=60))


def test_server_frozen(agent_workspace, working, fault):
    conversation = working()
    fault.later(lambda: inside(agent_workspace, "pkill", "-STOP", "-f", "openhands.agent_server"))
    fault.during(lambda: conversation.wait(timeout=3))


def test_container_killed(agent_workspace, working, fault):
    conversation = working()
    fault.later(lambda: api(agent_workspace).kill(agent_workspace.container.id))
    fault.during(lambda: conversation.wait(timeout=60))


def test_container_stopped(agent_workspace, working, fault):
    conversation = working()
    fault.later(lambda: api(agent_workspace).stop(agent_workspace.container.id, timeout=0))
    fault.during(lambda: conversation.wait(timeout=60))


def test_container_removed(agent_workspace, working, fault):
    conversation = working()
    fault.later(
        lambda: api(agent_workspace).remove_container(agent_workspace.container.id, force=True)
    )
    fault.during(lambda: conversation.wait(timeout=60))


def test_container_removed_during_a_command(agent_workspace, fault):
    fault.later(
        lambda: api(agent_workspace).remove_container(agent_workspace.container.id, force=True), 0.5
    )
    fault.during(lambda: agent_workspace.execute_command("echo begun; sleep 30", timeout=60))


def test_container_paused(agent_workspace, working, fault):
    conversation = working()
    fault.later(lambda: api(agent_workspace).pause(agent_workspace.container.id))
    fault.during(lambda: conversation.wait(timeout=3))


@pytest.mark.agent_sandbox(memory="600m")
def test_memory_used_up(agent_workspace, agent_llm, agent_conversation, fault):
    # It grows until the kernel ends something of the container.
    hog = "python3 -c 'a = [\"x\" * 1000000 for _ in range(100000)]'"
    agent_llm.script([tool("terminal", command=f"echo begun; {hog}"), say("Done.")])
    conversation = agent_conversation()
    conversation.send_message("Go.")
    fault.later(lambda: api(agent_workspace).wait(agent_workspace.container.id), done=True)
    fault.during(lambda: conversation.run(timeout=60))


@pytest.mark.agent_sandbox(pids=120)
def test_fork_bomb(agent_workspace, working, fault):
    conversation = working(command="echo begun; for i in $(seq 300); do sleep 20 & done")
    fault.happens()
    fault.during(lambda: conversation.wait(timeout=60))


@pytest.mark.agent_sandbox(network="isolated")
def test_tunnel_killed(agent_workspace, working, fault):
    conversation = working()
    fault.later(lambda: inside(agent_workspace, "pkill", "-9", "-f", "tunnel", user="0"))
    fault.during(lambda: conversation.wait(timeout=60))


# Disks, images, ports, janitors.


@pytest.fixture
def small_disk(request):
    """A volume of 20 MB in memory."""
    import docker

    client = docker.from_env()
    volume = client.volumes.create(
        driver="local",
        driver_opts={"type": "tmpfs", "device": "tmpfs", "o": "size=20m,mode=1777"},
    )
    yield volume.name
    volume.remove(force=True)
    client.close()


def test_sandbox_has_no_room(small_disk, agent_workspace_factory, agent_llm, fault, monkeypatch):
    if "FAULT_RESULTS" not in os.environ:  # the time that users wait goes into the documentation
        monkeypatch.setattr(run_watch, "_LONG_IDLE", 2.0)
    workspace = agent_workspace_factory(volumes=[f"{small_disk}:/workspace"])
    agent_llm.script([tool("terminal", command="echo begun"), say("Done.")])
    agent, _ = agent_llm.connect(
        default_agent(LLM(model="x")), workspace.gateway, script=None, name="1", known={}
    )
    with RemoteConversation(workspace, agent) as conversation:
        conversation.send_message("Go.")
        inside(workspace, "sh", "-c", "cat /dev/zero > /workspace/full")
        fault.happens()
        fault.during(lambda: conversation.run(timeout=60))


GONE = "local/agent-sandbox-test-gone:1"


@pytest.fixture
def gone():
    import docker

    client = docker.from_env()
    image = client.images.get(os.environ["FAULT_IMAGE"])
    image.tag(GONE)
    yield lambda: client.images.remove(GONE, noprune=True)
    client.close()


def test_image_deleted(gone, agent_workspace_factory, fault):
    agent_workspace_factory(image=GONE, pull="never")
    gone()
    fault.happens()
    fault.during(lambda: agent_workspace_factory(image=GONE, pull="never", memory="3g"))


def test_port_taken(fault, sandbox_image):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        fault.happens()
        fault.during(lambda: DockerWorkspace(server_image=sandbox_image, host_port=port))


@pytest.mark.agent_sandbox(forward_env=["PYTHONHOME"])
def test_server_that_cannot_start(request, fault, monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    fault.happens()
    fault.during(lambda: request.getfixturevalue("agent_workspace"))


@pytest.mark.agent_sandbox(start_timeout=0.5)
def test_server_that_never_answers(request, fault):
    fault.happens()
    fault.during(lambda: request.getfixturevalue("agent_workspace"))


@pytest.mark.agent_sandbox(isolation="recycled")
@pytest.mark.parametrize("number", range(2))
def test_janitor_killed(agent_workspace, fault, number):
    assert agent_workspace.execute_command("ls").stdout == "", "nothing of the test before"
    agent_workspace.write_text("left", "x")
    fault.happens()
    fault.during(lambda: inside(agent_workspace, "pkill", "-9", "-f", "janitor", user="0"))
