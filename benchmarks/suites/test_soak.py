"""Tests whose sandboxes, sockets and LLMs fail, one way or another, until the time is over."""

import os
import random
import time

import pytest

from pytest_agent_sandbox import LLM, default_agent, delay, say, tool
from pytest_agent_sandbox.errors import ConversationFailed, ConversationTimeout, SandboxDied
from pytest_agent_sandbox.plugin.fixtures import forget_checks

BEGAN = time.monotonic()


def nothing(workspace, llm, converse):
    conversation = converse(say("", tool("terminal", command="echo hello > a.txt")), say("Done."))
    conversation.run(timeout=60)
    assert workspace.read_text("a.txt") == "hello\n"


def killed(workspace, llm, converse):
    conversation = converse(tool("terminal", command="sleep 30"), say("Done."))
    conversation.run(blocking=False)
    time.sleep(0.5)
    workspace.engine.client.api.kill(workspace.container.id)
    with pytest.raises(SandboxDied):
        conversation.wait(timeout=60)


def removed(workspace, llm, converse):
    conversation = converse(tool("terminal", command="sleep 30"), say("Done."))
    conversation.run(blocking=False)
    workspace.engine.client.api.remove_container(workspace.container.id, force=True, v=True)
    with pytest.raises(SandboxDied):
        conversation.wait(timeout=60)


def paused(workspace, llm, converse):
    conversation = converse(tool("terminal", command="sleep 30"), say("Done."))
    conversation.run(blocking=False)
    workspace.engine.client.api.pause(workspace.container.id)
    with pytest.raises(ConversationTimeout):
        conversation.wait(timeout=1)


def suicide(workspace, llm, converse):
    conversation = converse(tool("terminal", command="kill -9 -1"), say("Done."))
    with pytest.raises(SandboxDied):
        conversation.run(timeout=60)


def broken_llm(workspace, llm, converse):
    conversation = converse()
    llm.fail_next(500, times=1)
    with pytest.raises(ConversationFailed):
        conversation.run(timeout=60)


def slow_llm(workspace, llm, converse):
    conversation = converse(delay(5, say("Done.")))
    with pytest.raises(ConversationTimeout):
        conversation.run(timeout=1)


def cut_llm(workspace, llm, converse):
    conversation = converse(say("Cut."), say("Done."), stream=True, retries=2)
    llm.cut_next(after=1)
    conversation.run(timeout=60)


def litter(workspace, llm, converse):
    workspace.execute_command(
        "for n in $(seq 50); do sleep 600 & done >/dev/null 2>&1; "
        "head -c 5000000 /dev/urandom > big; mkdir -p a/b/c; touch a/b/c/d"
    )


def full(workspace, llm, converse):
    assert workspace.execute_command("cat /dev/zero > /dev/shm/full").exit_code != 0


FAULTS = [
    nothing,
    nothing,
    nothing,
    killed,
    removed,
    paused,
    suicide,
    broken_llm,
    slow_llm,
    cut_llm,
    litter,
    full,
]


@pytest.fixture
def converse(agent_llm, agent_conversation):
    def converse(*replies, stream=False, retries=0):
        agent_llm.script(list(replies))
        llm = LLM(model="x", stream=stream, num_retries=retries, retry_min_wait=0, retry_max_wait=1)
        conversation = agent_conversation(default_agent(llm))
        conversation.send_message("Go.")
        return conversation

    return converse


def test_fault(request, number):
    if time.monotonic() - BEGAN > float(os.environ["BENCHMARK_SECONDS"]):
        pytest.skip("the time is over")
    source = random.Random(number)
    network = source.choice(["open", "isolated"])
    isolation = source.choice(["recycled", "fresh"])
    mark = pytest.mark.agent_sandbox(network=network, isolation=isolation)
    request.node.add_marker(mark)
    workspace = request.getfixturevalue("agent_workspace")
    llm = request.getfixturevalue("agent_llm")
    converse = request.getfixturevalue("converse")
    source.choice(FAULTS)(workspace, llm, converse)
    forget_checks(request.node)  # what the fault kept from being used up is no failure here
