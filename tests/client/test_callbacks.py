"""Functions that a conversation calls with its events."""

from __future__ import annotations

import time

import pytest

from pytest_agent_sandbox.client.agents import default_agent
from pytest_agent_sandbox.client.conversation import RemoteConversation
from pytest_agent_sandbox.client.events import Event
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from tests.support.timing import eventually

from .conversing import Converse
from .scripted_llm import ScriptedLLM, say, tool


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
    with pytest.raises(AssertionError, match="something wrong") as raised:
        conversation.run(timeout=30)
    assert conversation.status == "finished"
    wrong = sum("Wrong" in str(event) for event in others)
    notes = getattr(raised.value, "__notes__", [])
    assert notes == [f"The callbacks raised {wrong - 1} more errors."] * (wrong > 1)
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
