"""Messages that were never run, and runs that have nothing to do."""

from __future__ import annotations

import pytest

from pytest_agent_sandbox.client.event_log import EventLog
from pytest_agent_sandbox.client.events import Event, parse_event
from pytest_agent_sandbox.client.turn import Turn
from pytest_agent_sandbox.errors import ConversationMisused
from tests.support import events


def message(source: str, text: str) -> Event:
    return parse_event(events.message(source, text, seconds=float(len(source))))


@pytest.fixture
def log() -> EventLog:
    return EventLog()


@pytest.fixture
def turn(log: EventLog) -> Turn:
    return Turn("conversation 7", log)


def test_a_message_that_was_never_run(turn: Turn) -> None:
    turn.check_messages()
    turn.sent("Write a haiku.", is_running=False)
    with pytest.raises(ConversationMisused, match="conversation 7 and never run: 'Write a h"):
        turn.check_messages()
    turn.begin()
    turn.check_messages()


def test_long_messages_and_those_of_parts(turn: Turn) -> None:
    turn.sent("x" * 500, is_running=False)
    with pytest.raises(ConversationMisused, match=f"'{'x' * 80}…'"):
        turn.check_messages()
    turn.sent({"content": []}, is_running=False)
    with pytest.raises(ConversationMisused, match="a message of several parts"):
        turn.check_messages()


def test_an_agent_at_work_may_see_a_message_without_another_run(turn: Turn) -> None:
    turn.sent("And in German.", is_running=True)
    turn.check_messages()


def test_somebody_else_may_have_run_it(turn: Turn, log: EventLog) -> None:
    turn.sent("Go.", is_running=False)
    log.add(message("user", "Go."))
    with pytest.raises(ConversationMisused):
        turn.check_messages()
    log.add(message("agent", "Done."))
    turn.check_messages()


@pytest.mark.parametrize("status", ["paused", "error", "stuck", "running", "odd", ""])
def test_a_run_that_goes_on(turn: Turn, status: str) -> None:
    turn.check_run(status)


def test_a_run_without_a_message(turn: Turn, log: EventLog) -> None:
    with pytest.raises(ConversationMisused, match=r"7 has no message yet\. Call send_m"):
        turn.check_run("idle")
    log.add(message("user", "Go."))
    turn.check_run("idle")
    with pytest.raises(ConversationMisused, match="has finished, and was told nothing since"):
        turn.check_run("finished")
