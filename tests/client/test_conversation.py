"""Conversations with the real agent on a real server, its LLM scripted."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest
from pydantic import SecretStr

from pytest_agent_sandbox.client import conversation_run, run_watch
from pytest_agent_sandbox.client.agents import Agent, Tool, default_agent
from pytest_agent_sandbox.client.conversation import RemoteConversation
from pytest_agent_sandbox.client.conversation_state import ExecutionStatus
from pytest_agent_sandbox.client.events import Event
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import (
    ConversationFailed,
    ConversationTimeout,
    SandboxDied,
    ServerError,
)

from .scripted_llm import Reply, ScriptedLLM, say, tool
from .server import Server

Converse = Callable[..., RemoteConversation]


@pytest.fixture
def converse(workspace: RemoteWorkspace, llm: ScriptedLLM) -> Iterator[Converse]:
    """Starts conversations that are closed with the test, and leave no thread behind."""
    before = set(threading.enumerate())
    with contextlib.ExitStack() as closing:

        def start(**settings: Any) -> RemoteConversation:
            where = settings.pop("workspace", workspace)
            agent = settings.pop("agent", default_agent(llm.llm()))
            conversation = RemoteConversation(where, agent, **settings)
            closing.callback(conversation.close)
            return conversation

        yield start
    assert set(threading.enumerate()) <= before


@contextlib.contextmanager
def measured(at_most: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < at_most, f"took {took:.3f} s"


def eventually(condition: Callable[[], object], timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def in_background(
    function: Callable[..., object], *arguments: object
) -> Callable[[], Exception | None]:
    """Run a function on a thread; the answer waits for it and returns what it raised."""
    raised: list[Exception] = []

    def call() -> None:
        try:
            function(*arguments)
        except Exception as error:  # noqa: BLE001
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()

    def join() -> Exception | None:
        thread.join(30)
        assert not thread.is_alive()
        return raised[0] if raised else None

    return join


def tool_is_running(conversation: RemoteConversation) -> bool:
    calls = conversation.events.tool_calls("terminal")
    return bool(calls) and calls[-1].observation is None


def test_two_messages_and_two_runs(
    converse: Converse, llm: ScriptedLLM, workspace: RemoteWorkspace
) -> None:
    llm.script(
        tool("terminal", command="echo a fact > FACTS.txt"),
        say("Written."),
        tool("terminal", command="rm FACTS.txt; ls"),
        tool("finish", message="Deleted."),
    )
    received: list[Event] = []
    conversation = converse(callbacks=[received.append])
    assert conversation.status == "idle"

    conversation.send_message("Write a fact into FACTS.txt.")
    conversation.run(timeout=60)
    assert conversation.status == ExecutionStatus.FINISHED
    assert conversation.state.execution_status == "finished"
    assert workspace.read_text("FACTS.txt") == "a fact\n"
    assert conversation.events.final_message == "Written."
    cost = conversation.cost
    assert cost > 0
    assert conversation.tokens.prompt_tokens == 2000
    assert {event.id for event in conversation.events} <= {event.id for event in received}

    conversation.send_message("Great! Now delete that file.")
    conversation.run(timeout=60)
    assert conversation.status == "finished"
    assert conversation.events.final_message == "Deleted."
    assert conversation.cost == pytest.approx(2 * cost)
    metrics = conversation.conversation_stats.get_combined_metrics()
    assert metrics.accumulated_cost == conversation.cost
    assert conversation.state.id == conversation.id

    commands = [call.arguments["command"] for call in conversation.events.tool_calls("terminal")]
    assert commands == ["echo a fact > FACTS.txt", "rm FACTS.txt; ls"]
    assert [message.text for message in conversation.events.messages("user")] == [
        "Write a fact into FACTS.txt.",
        "Great! Now delete that file.",
    ]
    assert conversation.events.errors() == []
    assert len(llm.requests) == 4, "a title or anything else asked the LLM too"


def test_costs_and_tokens_add_up(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(tool("terminal", command="true"), say("Done."))
    conversation = converse()
    assert (conversation.cost, conversation.tokens.prompt_tokens) == (0, 0)
    conversation.send_message("go")
    conversation.run(timeout=30)
    # The server tells the last of it after the end.
    eventually(lambda: conversation.tokens.completion_tokens == 200)
    assert conversation.tokens.prompt_tokens == 2000
    assert conversation.cost > 0


def test_callbacks_get_the_servers_log_in_order_and_what_it_does_not_keep(
    converse: Converse, llm: ScriptedLLM
) -> None:
    llm.script(tool("terminal", command="true"), say("Done."))
    received: list[Event] = []
    conversation = converse(callbacks=[received.append])
    conversation.send_message("go")
    conversation.run(timeout=60)
    eventually(lambda: len(server_log(conversation)) == len(conversation.events))
    assert [event.id for event in conversation.events] == server_log(conversation)
    eventually(
        lambda: [event.id for event in received if event.is_persisted] == server_log(conversation)
    )
    whole_states = [event for event in received if not event.is_persisted]
    assert len(whole_states) >= 2, "one for the connection and one for the end of the run"


def server_log(conversation: RemoteConversation) -> list[str]:
    connection = conversation.workspace.connection
    ids: list[str] = []
    page_id = None
    while True:
        page = connection.get_json(
            f"/api/conversations/{conversation.id}/events/search",
            params={"limit": 100, "page_id": page_id},
        )
        ids += [item["id"] for item in page["items"]]
        page_id = page.get("next_page_id")
        if not page_id:
            return ids


def test_runs_without_anything_to_do_end_at_once(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(say("Done."))
    conversation = converse()
    conversation.send_message("go")
    conversation.run(timeout=60)
    for _ in range(150):
        with measured(at_most=10.0):  # a missed end would cost thirty
            conversation.run(timeout=60)
        assert conversation.status == "finished"


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


def test_a_confirmed_call_is_carried_out(
    converse: Converse, llm: ScriptedLLM, workspace: RemoteWorkspace
) -> None:
    llm.script(
        tool("terminal", command="touch one"), tool("terminal", command="touch two"), say("Ok.")
    )
    conversation = converse(confirm=True)
    conversation.send_message("go")
    conversation.run(timeout=30)
    assert conversation.status == "waiting_for_confirmation"
    assert workspace.execute_command("ls").stdout == ""
    conversation.accept()
    conversation.wait(timeout=30)
    assert conversation.status == "waiting_for_confirmation"
    assert workspace.execute_command("ls").stdout.split() == ["one"]
    conversation.run(timeout=30)  # is a confirmation too
    assert conversation.status == "finished"
    assert workspace.execute_command("ls").stdout.split() == ["one", "two"]


def test_a_rejected_call_is_not(
    converse: Converse, llm: ScriptedLLM, workspace: RemoteWorkspace
) -> None:
    llm.script(tool("terminal", command="touch one"), say("As you like."))
    conversation = converse(confirm=True)
    conversation.send_message("go")
    conversation.run(timeout=30)
    conversation.reject("not today")
    conversation.run(timeout=30)
    assert conversation.status == "finished"
    (call,) = conversation.events.tool_calls("terminal")
    assert (call.is_error, call.result) == (True, "not today")
    assert workspace.execute_command("ls").stdout == ""
    assert "not today" in str(llm.requests[-1]["messages"])


def test_secrets_reach_commands_and_nothing_else(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(
        tool("terminal", command='test "$FIRST" = s3cret-one && echo first is right'),
        tool("terminal", command='test "$SECOND" = s3cret-two && echo second is right'),
        say("Ok."),
    )
    conversation = converse(secrets={"FIRST": "s3cret-one"})
    conversation.update_secrets({"SECOND": SecretStr("s3cret-two")})
    conversation.send_message("go")
    conversation.run(timeout=30)
    results = [call.result for call in conversation.events.tool_calls("terminal")]
    assert results == ["first is right", "second is right"]
    told = repr(conversation) + "".join(repr(event) for event in conversation.events)
    assert "SecretStr" not in told


def test_a_fork_has_the_history_and_a_life_of_its_own(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(say("One."), say("Two."))
    conversation = converse()
    conversation.send_message("first")
    conversation.run(timeout=30)
    received: list[Event] = []
    with conversation.fork(callbacks=[received.append]) as fork:
        assert fork.id != conversation.id
        assert fork.events.final_message == "One."
        assert fork.cost == 0
        fork.send_message("second")
        fork.run(timeout=30)
        assert fork.events.final_message == "Two."
        assert [event.text for event in received if event.kind == "MessageEvent"] == [
            "first",
            "One.",
            "second",
            "Two.",
        ]
    assert conversation.events.final_message == "One."


def test_an_attached_conversation_has_all_events(
    converse: Converse, llm: ScriptedLLM, workspace: RemoteWorkspace
) -> None:
    llm.script(tool("terminal", command="sleep 1; echo ok"), say("One."), say("Two."))
    first = converse()
    first.send_message("go")
    first.run(blocking=False)
    eventually(lambda: tool_is_running(first))
    received: list[Event] = []
    with RemoteConversation.attach(workspace, first.id, callbacks=[received.append]) as second:
        second.wait(timeout=30)
        assert second.status == "finished"
        assert second.cost > 0
        first.wait(timeout=30)
        assert [event.id for event in second.events] == [event.id for event in first.events]
        second.send_message("more")
        second.run(timeout=30)
        assert second.events.final_message == "Two."
    assert {event.id for event in second.events} <= {event.id for event in received}


def test_a_conversation_that_is_finished_can_be_attached_to(
    converse: Converse, llm: ScriptedLLM, workspace: RemoteWorkspace
) -> None:
    llm.script(say("One."), say("Two."))
    first = converse(conversation_id="0f0e0d0c-0b0a-4908-8706-050403020100")
    assert first.id == "0f0e0d0c-0b0a-4908-8706-050403020100"
    first.send_message("go")
    first.run(timeout=30)
    first.close()
    with RemoteConversation.attach(workspace, first.id) as second:
        assert second.status == "finished"
        assert second.events.final_message == "One."
        assert second.cost == first.cost
        second.wait()
        second.send_message("more")
        second.run(timeout=30)
        assert second.events.final_message == "Two."


def test_there_is_no_such_conversation(workspace: RemoteWorkspace) -> None:
    with pytest.raises(ServerError, match="404"):
        RemoteConversation.attach(workspace, "0f0e0d0c-0b0a-4908-8706-ffffffffffff")


def test_an_agent_that_the_server_refuses(converse: Converse, llm: ScriptedLLM) -> None:
    with pytest.raises(ServerError, match="422"):
        converse(agent={"llm": {"model": "m", "num_retries": "many"}})


def test_an_unknown_tool_is_an_error(converse: Converse, llm: ScriptedLLM) -> None:
    conversation = converse(agent=Agent(llm=llm.llm(), tools=[Tool(name="teleporter")]))
    with pytest.raises(ServerError, match="teleporter"):
        conversation.send_message("go")


def test_messages_may_be_given_in_the_servers_form(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(say("Ok."))
    conversation = converse()
    conversation.send_message(
        {
            "role": "user",
            "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}],
        }
    )
    assert (
        conversation.events.messages("user")
        or eventually(lambda: conversation.events.messages("user")) is None
    )
    assert conversation.events.messages("user")[0].text == "one two"


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


def test_a_slow_callback_stalls_and_loses_nothing(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(*[tool("terminal", command=f"echo {number}") for number in range(5)], say("Done."))
    received: list[Event] = []

    def slow(event: Event) -> None:
        time.sleep(0.1)
        received.append(event)

    conversation = converse(callbacks=[slow])
    conversation.send_message("go")
    conversation.run(timeout=60)
    kept = [event for event in received if event.is_persisted]
    assert kept == conversation.events[: len(kept)]
    assert kept[-1].raw.get("value") == "finished" or len(kept) == len(conversation.events)


def test_what_a_callback_raises_is_raised_by_the_run(
    converse: Converse, llm: ScriptedLLM, caplog: pytest.LogCaptureFixture
) -> None:
    llm.script(say("Wrong."), say("Right."))
    others: list[Event] = []

    def judge(event: Event) -> None:
        assert "Wrong" not in str(event), "the agent said something wrong"

    conversation = converse(callbacks=[judge, others.append])
    conversation.send_message("go")
    with pytest.raises(AssertionError, match="something wrong"):
        conversation.run(timeout=30)
    assert conversation.status == "finished"
    assert {event.id for event in conversation.events} <= {event.id for event in others}
    assert "callback failed" in caplog.text
    conversation.send_message("again")
    conversation.run(timeout=30)


def test_pytest_fail_in_a_callback_is_not_lost(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(say("Done."))

    def judge(event: Event) -> None:
        if event.source == "agent":
            pytest.fail("not like this")

    conversation = converse(callbacks=[judge])
    conversation.send_message("go")
    with pytest.raises(pytest.fail.Exception, match="not like this"):
        conversation.run(timeout=30)


def test_a_callbacks_error_that_no_run_raised_is_raised_at_the_end(
    workspace: RemoteWorkspace, llm: ScriptedLLM
) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        RemoteConversation(workspace, default_agent(llm.llm()), callbacks=[lambda event: 1 / 0]),
    ):
        pass


def test_a_callback_may_talk_to_the_agent(converse: Converse, llm: ScriptedLLM) -> None:
    llm.script(say("One."), say("Two."))

    def answer(event: Event) -> None:
        if event.kind == "MessageEvent" and event.text == "One.":
            conversation.send_message("And then?")
            conversation.run(timeout=30)

    conversation = converse(callbacks=[answer])
    conversation.send_message("go")
    conversation.run(timeout=30)
    eventually(lambda: conversation.events.final_message == "Two.")


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
