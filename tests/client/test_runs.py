"""How runs are waited for, and how they end: done, failed, paused, interrupted, cut off."""

from __future__ import annotations

import contextlib
import threading

import docker
import pytest

from pytest_agent_sandbox.client import conversation_run, run_watch
from pytest_agent_sandbox.client.agents import Agent, default_agent
from pytest_agent_sandbox.client.conversation import RemoteConversation
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import (
    ConversationFailed,
    ConversationMisused,
    ConversationTimeout,
    SandboxDied,
    ServerError,
)
from tests.support.timing import eventually, measured

from .conversing import Converse, in_background, tool_is_running
from .scripted_llm import Reply, ScriptedLLM, say, tool
from .server import Server


def test_runs_without_anything_to_do_are_errors(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(say("Done."), say("Once more."))
    conversation = converse()
    with pytest.raises(ConversationMisused, match="has no message yet"):
        conversation.run(timeout=60)
    conversation.send_message("go")
    with pytest.raises(ConversationMisused, match="never run: 'go'"):
        conversation.check_messages()
    conversation.run(timeout=60)
    for _ in range(2):
        with measured(at_most=2.0), pytest.raises(ConversationMisused, match="was told nothing"):
            conversation.run(timeout=60)
    conversation.wait()
    conversation.check_messages()
    conversation.send_message("again")
    conversation.wait()
    with pytest.raises(ConversationMisused, match="never run: 'again'"):
        conversation.check_messages()
    conversation.run(timeout=60)
    assert conversation.events.final_message == "Once more."


def test_runs_that_may_find_nothing_to_do(converse: Converse, llm: ScriptedLLM) -> None:
    """What a run was begun for may be done, before somebody waits for it or stops it."""
    llm.script(say("One."), say("Two."), say("Three."))
    conversation = converse()
    for stop in (lambda: None, conversation.pause, conversation.interrupt):
        conversation.send_message("go")
        conversation.run(blocking=False)
        eventually(lambda: conversation.status == "finished")
        stop()
        conversation.run(timeout=30)
    assert len(conversation.events.messages("agent")) == 3


def test_a_message_of_another_object_is_run(
    converse: Converse, llm: ScriptedLLM, workspace: RemoteWorkspace
) -> None:
    llm.script(say("One."), say("Two."))
    conversation = converse()
    with RemoteConversation.attach(workspace, str(conversation.id)) as other:
        conversation.send_message("go")
        other.run(timeout=30)
        eventually(lambda: conversation.events.messages("agent"))
        conversation.check_messages()
        other.send_message("go on")
        conversation.run(timeout=30)
        assert conversation.events.final_message == "Two."


def test_many_runs_in_a_row_end_promptly(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(*[say(f"Answer {number}.") for number in range(40)])
    conversation = converse()
    for number in range(40):
        conversation.send_message(f"Question {number}?")
        with measured(at_most=10.0):  # a missed end would cost thirty
            conversation.run(timeout=60)
        assert conversation.events.final_message == f"Answer {number}."


def test_a_run_that_is_not_waited_for(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(tool("terminal", command="sleep 1"), say("Done."))
    conversation = converse()
    conversation.send_message("go")
    with measured(at_most=0.9):
        conversation.run(blocking=False)
    eventually(lambda: conversation.status == "running")
    conversation.wait(timeout=30)
    assert conversation.status == "finished"
    with measured(at_most=0.5):
        conversation.wait()


def test_a_run_joins_one_that_is_under_way(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(tool("terminal", command="sleep 1.5"), say("Done."))
    conversation = converse()
    conversation.send_message("go")
    conversation.run(blocking=False)
    eventually(lambda: tool_is_running(conversation))
    conversation.run(timeout=30)
    assert conversation.status == "finished"
    assert conversation.events.final_message == "Done."


def test_an_error_of_the_llm_is_told_in_its_words(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(Reply("the model is on holiday", status=400))
    conversation = converse()
    conversation.send_message("go")
    with measured(at_most=5.0), pytest.raises(ConversationFailed, match="the model is on holiday"):
        conversation.run(timeout=60)
    assert conversation.status == "error"
    assert "on holiday" in str(conversation.events.errors()[-1])


def test_a_failed_conversation_can_go_on(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(Reply("no", status=400), say("Now it works."), Reply("no again", status=400))
    conversation = converse()
    conversation.send_message("go")
    with pytest.raises(ConversationFailed):
        conversation.run(timeout=60)
    conversation.run(timeout=60)
    assert conversation.events.final_message == "Now it works."
    conversation.send_message("go on")
    with pytest.raises(ConversationFailed, match="no again"):
        conversation.run(timeout=60)


def test_an_llm_that_cannot_be_reached_fails_within_seconds(
    converse: Converse, llm: ScriptedLLM
) -> None:
    unreachable = llm.llm().model_copy(update={"base_url": "http://127.0.0.1:9/v1"})
    conversation = converse(agent=Agent(llm=unreachable))
    conversation.send_message("go")
    with measured(at_most=20.0), pytest.raises(ConversationFailed):
        conversation.run(timeout=60)


def test_too_many_steps_are_a_failure_with_its_reason(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(*[tool("terminal", command=f"echo {number}") for number in range(5)])
    conversation = converse(max_iterations=2)
    conversation.send_message("go")
    with pytest.raises(ConversationFailed, match="maximum iterations"):
        conversation.run(timeout=60)


def test_an_agent_that_repeats_itself_is_stuck(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(*[tool("terminal", command="cat nothing")] * 30)
    conversation = converse()
    conversation.send_message("go")
    with pytest.raises(ConversationFailed, match="stuck"):
        conversation.run(timeout=60)
    assert conversation.status == "stuck"


def test_a_timeout_interrupts_the_agent_and_says_what_it_was_doing(
    converse: Converse, llm: ScriptedLLM
) -> None:
    llm.script(tool("terminal", command="sleep 60"))
    conversation = converse(run_timeout=2)
    conversation.send_message("go")
    with measured(at_most=6.0), pytest.raises(ConversationTimeout) as caught:
        conversation.run()
    assert "'running'" in str(caught.value)
    assert "sleep 60" in str(caught.value)
    eventually(lambda: conversation.status == "paused")
    assert conversation.events.tool_calls("terminal")[0].is_error


def test_a_pause_takes_effect_after_the_step(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(tool("terminal", command="sleep 1.5"), say("Done."))
    conversation = converse()
    conversation.send_message("go")
    finished = in_background(conversation.run, True, 30)
    eventually(lambda: tool_is_running(conversation))
    conversation.pause()
    assert finished() is None
    assert conversation.status == "paused"
    assert conversation.events.tool_calls("terminal")[0].observation is not None
    conversation.run(timeout=30)
    assert conversation.status == "finished"


def test_a_pause_while_the_llm_answers_ends_with_the_run(
    converse: Converse, llm: ScriptedLLM
) -> None:
    llm.script(say("Done.", delay=2), say("More."))
    conversation = converse()
    conversation.send_message("go")
    finished = in_background(conversation.run, True, 30)
    eventually(lambda: llm.requests)
    conversation.pause()
    assert finished() is None
    assert conversation.status in ("paused", "finished")
    conversation.send_message("And?")
    conversation.run(timeout=30)
    assert conversation.status == "finished"
    assert conversation.events.final_message in ("Done.", "More.")


def test_an_interrupt_ends_a_long_tool_within_a_second(
    converse: Converse, llm: ScriptedLLM
) -> None:
    llm.script(tool("terminal", command="sleep 60"), say("I was interrupted."))
    conversation = converse()
    conversation.send_message("go")
    finished = in_background(conversation.run, True, 30)
    eventually(lambda: tool_is_running(conversation))
    with measured(at_most=1.0):
        conversation.interrupt()
        assert finished() is None
    assert conversation.status == "paused"
    conversation.run(timeout=30)
    assert conversation.status == "finished"
    assert conversation.events.final_message == "I was interrupted."


def test_a_dead_container_is_noticed_within_a_second(
    fresh_server: Server, llm: ScriptedLLM
) -> None:
    llm.script(tool("terminal", command="sleep 60"))
    with contextlib.closing(docker.from_env()) as engine:
        container = engine.containers.get(fresh_server.container_id)

        def guard() -> None:
            container.reload()
            if container.status != "running":
                raise SandboxDied("The container is gone.", exit_code=137)

        with (
            RemoteWorkspace(fresh_server.host, fresh_server.api_key, guard=guard) as workspace,
            RemoteConversation(workspace, default_agent(llm.llm())) as conversation,
        ):
            conversation.send_message("go")
            finished = in_background(conversation.run)
            eventually(lambda: tool_is_running(conversation))
            container.kill()
            with measured(at_most=1.5):
                assert isinstance(finished(), SandboxDied)


def test_a_guard_of_the_conversation_ends_the_wait(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(tool("terminal", command="sleep 60"))
    gone = threading.Event()

    def guard() -> None:
        if gone.is_set():
            raise SandboxDied("The guard said so.")

    conversation = converse(guard=guard)
    conversation.send_message("go")
    finished = in_background(conversation.run)
    eventually(lambda: tool_is_running(conversation))
    gone.set()
    with measured(at_most=1.0):
        assert isinstance(finished(), SandboxDied)


SLOW_SERVER = {"command": "sh", "args": ["-c", "sleep 5"]}


def test_an_agent_may_prepare_longer_than_we_would_look_for_its_run(
    converse: Converse, llm: ScriptedLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its MCP server needs five seconds to say that it does not work."""
    monkeypatch.setattr(run_watch, "_LONG_IDLE", 1.0)
    llm.script(say("Hello."))
    conversation = converse(mcp_servers={"slow": SLOW_SERVER})
    conversation.send_message("Hi.")
    with measured(at_most=25):
        conversation.run(timeout=30)
    assert conversation.status == "finished"
    assert len(llm.requests) == 1


def test_a_hook_may_keep_the_server_silent_until_the_runs_own_time_is_over(
    converse: Converse, llm: ScriptedLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation_run, "_POLL_TIMEOUT", 0.2)
    monkeypatch.setattr(conversation_run, "_POLL_PATIENCE", 1.0)
    llm.script(say("Hello."), say("Again."))
    conversation = converse(hooks={"stop": "sleep 4"})
    conversation.send_message("Hi.")
    conversation.run(timeout=30)
    assert conversation.status == "finished"
    conversation.send_message("Once more.")
    with measured(at_most=8), pytest.raises(ServerError, match="has answered nothing"):
        conversation.run(timeout=3)
