"""Faults that leave the sandbox as it was: tests of them use one again, which spares its start."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from pytest_agent_sandbox import (
    LLM,
    RemoteConversation,
    RemoteWorkspace,
    default_agent,
    delay,
    say,
    tool,
)
from tests.support.relay import Relay

pytestmark = pytest.mark.agent_sandbox(isolation="recycled")


def test_conversation_deleted(agent_workspace, working, fault):
    conversation = working(delay(20, say("Done.")), command="echo begun; sleep 1")
    path = f"/api/conversations/{conversation.id}"
    # The server does so once the tool is done.
    fault.later(lambda: agent_workspace.connection.request("DELETE", path), done=True)
    fault.during(lambda: conversation.wait(timeout=60))


# The way there.


@pytest.fixture
def relay(agent_workspace):
    with Relay(agent_workspace.host) as relay:
        yield relay


@pytest.fixture
def over_the_relay(agent_workspace, agent_llm, relay):
    """A conversation whose socket and requests go through the relay, its tool call begun."""
    agent_llm.script([tool("terminal", command="echo begun; sleep 2"), say("Done.")])
    agent, _ = agent_llm.connect(
        default_agent(LLM(model="x")), agent_workspace.gateway, script=None, name="1", known={}
    )
    key = agent_workspace.session_key
    with (
        RemoteWorkspace(relay.host, key, agent_workspace.working_dir) as remote,
        RemoteConversation(remote, agent) as conversation,
    ):
        conversation.send_message("Go.")
        conversation.run(blocking=False)
        while not conversation.events.tool_calls():
            time.sleep(0.02)
        yield conversation


def test_socket_cut(over_the_relay, relay, fault):
    fault.later(relay.cut)
    fault.during(lambda: over_the_relay.wait(timeout=60))
    assert over_the_relay.events.final_message == "Done."


def test_socket_held_up(over_the_relay, relay, fault):
    fault.later(relay.hold)
    timer = threading.Timer(4, relay.release)
    timer.start()
    fault.during(lambda: over_the_relay.wait(timeout=60))
    timer.join()
    assert over_the_relay.events.final_message == "Done."


def test_socket_half_open(over_the_relay, relay, fault):
    fault.later(relay.hold)
    try:
        fault.during(lambda: over_the_relay.wait(timeout=3))
    finally:
        relay.release()


# The LLM.


@pytest.fixture
def asking(agent_llm, agent_conversation):
    """A conversation of a patient agent with an LLM that says it is done."""

    def start(*replies, stream=False, retries=2):
        agent_llm.script(list(replies) or [say("Done.")])
        llm = LLM(model="x", stream=stream, num_retries=retries, retry_min_wait=0, retry_max_wait=1)
        conversation = agent_conversation(default_agent(llm))
        conversation.send_message("Go.")
        return conversation

    return start


def test_llm_rate_limit(asking, agent_llm, fault):
    conversation = asking()
    agent_llm.fail_next(429, retry_after=0.2)
    fault.happens()
    fault.during(lambda: conversation.run(timeout=60))
    assert conversation.events.final_message == "Done."


def test_llm_broken(asking, agent_llm, fault):
    conversation = asking(retries=0)
    agent_llm.fail_next(500, "Out to lunch.", times=1)
    agent_llm.script([])
    fault.happens()
    fault.during(lambda: conversation.run(timeout=60))


def test_llm_silent(asking, agent_llm, fault):
    conversation = asking()
    agent_llm.delay_next(20)
    fault.happens()
    fault.during(lambda: conversation.run(timeout=2))


def test_llm_cut_off(asking, agent_llm, fault):
    conversation = asking(say("Never arrives whole."), say("Done."), stream=True)
    agent_llm.cut_next(after=2)
    fault.happens()
    fault.during(lambda: conversation.run(timeout=60))
    assert conversation.events.final_message == "Done."


def test_llm_writes_nonsense(asking, agent_llm, fault):
    conversation = asking(tool("terminal", command="ls"), say("Done."))
    agent_llm.malform_next()
    fault.happens()
    fault.during(lambda: conversation.run(timeout=60))
    assert conversation.events.final_message == "Done."


def test_llm_script_used_up(working, fault):
    conversation = working(tool("terminal", command="echo again"), command="echo begun; sleep 1")
    fault.happens()
    fault.during(lambda: conversation.wait(timeout=60))


@pytest.mark.agent_sandbox(llm_max_calls=1)
def test_llm_budget_used_up(working, fault):
    conversation = working(command="echo begun; sleep 1")
    fault.happens()
    fault.during(lambda: conversation.wait(timeout=60))


@pytest.mark.agent_sandbox(llm_record="none")
def test_cassette_that_misses(agent_conversation, fault):
    conversation = agent_conversation()
    conversation.send_message("Go.")
    fault.happens()
    fault.during(lambda: conversation.run(timeout=60))


# This machine.


def test_evidence_has_no_room(agent_workspace, working, fault):
    (folder,) = Path("agent-results").glob("*evidence_has_no_room*")
    conversation = working(command="echo begun; sleep 1")
    (folder / "events.jsonl").unlink()
    (folder / "events.jsonl").symlink_to("/dev/full")
    fault.happens()
    fault.during(lambda: conversation.wait(timeout=60))
    assert conversation.events.final_message == "Done."
    (folder / "events.jsonl").unlink()


@pytest.mark.parametrize("hours", [30, -30])
def test_clock_jumps(working, fault, monkeypatch, hours):
    conversation = working(command="echo begun; sleep 1")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + hours * 3600)
    fault.happens()
    fault.during(lambda: conversation.wait(timeout=60))
    assert conversation.events.final_message == "Done."
