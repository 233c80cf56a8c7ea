"""Events and the questions a test asks of them, on events as a server 1.58 sent them."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from pytest_agent_sandbox.client.event_log import EventLog
from pytest_agent_sandbox.client.events import (
    ACPToolCallEvent,
    ActionEvent,
    AgentErrorEvent,
    ConversationErrorEvent,
    ConversationStateUpdateEvent,
    Event,
    MessageEvent,
    ObservationEvent,
    StreamingDeltaEvent,
    SystemPromptEvent,
    UserRejectObservation,
    parse_event,
)

SYSTEM = {
    "id": "e0",
    "timestamp": "2026-11-22T23:11:07.188707",
    "source": "agent",
    "system_prompt": {"cache_prompt": False, "type": "text", "text": "You are an agent."},
    "tools": [{"description": "Runs a command.", "kind": "TerminalTool"}],
    "kind": "SystemPromptEvent",
}
USER = {
    "id": "e1",
    "timestamp": "2026-11-22T23:11:07.196572",
    "source": "user",
    "parent_id": "e0",
    "llm_message": {
        "role": "user",
        "content": [{"cache_prompt": False, "type": "text", "text": "go"}],
        "thinking_blocks": [],
    },
    "activated_skills": [],
    "extended_content": [],
    "kind": "MessageEvent",
}
ACTION = {
    "id": "e2",
    "source": "agent",
    "thought": [{"type": "text", "text": "Let me see."}],
    "action": {
        "command": "echo hi; false",
        "is_input": False,
        "reset": False,
        "kind": "TerminalAction",
    },
    "tool_name": "terminal",
    "tool_call_id": "call_1",
    "tool_call": {
        "id": "call_1",
        "name": "terminal",
        "arguments": '{"command": "echo hi; false"}',
        "origin": "completion",
    },
    "llm_response_id": "chatcmpl-1",
    "security_risk": "UNKNOWN",
    "summary": "terminal: echo",
    "kind": "ActionEvent",
}
RESULT = {
    "id": "e3",
    "source": "environment",
    "tool_name": "terminal",
    "tool_call_id": "call_1",
    "observation": {
        "content": [{"type": "text", "text": "hi"}],
        "is_error": False,
        "exit_code": 1,
        "kind": "TerminalObservation",
    },
    "action_id": "e2",
    "kind": "ObservationEvent",
}
NO_SUCH_TOOL = {
    "id": "e4",
    "source": "agent",
    "thought": [],
    "tool_name": "nosuch",
    "tool_call_id": "call_2",
    "tool_call": {"id": "call_2", "name": "nosuch", "arguments": '{"x": 1}'},
    "kind": "ActionEvent",
}
TOOL_ERROR = {
    "id": "e5",
    "source": "agent",
    "tool_name": "nosuch",
    "tool_call_id": "call_2",
    "error": "Tool 'nosuch' not found.",
    "kind": "AgentErrorEvent",
}
FINISH = {
    "id": "e6",
    "source": "agent",
    "thought": [],
    "action": {"message": "all done", "kind": "FinishAction"},
    "tool_name": "finish",
    "tool_call_id": "call_3",
    "tool_call": {"id": "call_3", "name": "finish", "arguments": '{"message": "all done"}'},
    "kind": "ActionEvent",
}
STATUS = {
    "id": "e7",
    "source": "environment",
    "key": "execution_status",
    "value": "finished",
    "kind": "ConversationStateUpdateEvent",
}
RUN = [SYSTEM, USER, ACTION, RESULT, NO_SUCH_TOOL, TOOL_ERROR, FINISH, STATUS]


def log_of(*events: dict[str, Any]) -> EventLog:
    log = EventLog()
    for event in events:
        log.add(parse_event(event))
    return log


@pytest.mark.parametrize("data", RUN, ids=lambda data: data["id"])
def test_an_event_is_of_the_class_that_its_kind_names_and_keeps_what_was_sent(
    data: dict[str, Any],
) -> None:
    event = parse_event(data)
    assert type(event).__name__ == data["kind"]
    assert event.raw == data
    assert event.id == data["id"]


def test_what_the_events_say() -> None:
    system, user, action, result, no_such_tool, tool_error, *_ = map(parse_event, RUN)
    assert isinstance(system, SystemPromptEvent)
    assert isinstance(user, MessageEvent)
    assert user.text == "go"
    assert isinstance(action, ActionEvent)
    assert action.text == "Let me see."
    assert action.arguments == {"command": "echo hi; false", "is_input": False, "reset": False}
    assert isinstance(result, ObservationEvent)
    assert result.text == "hi"
    assert not result.is_error
    assert result.observation.exit_code == 1  # type: ignore[attr-defined]
    assert isinstance(no_such_tool, ActionEvent)
    assert no_such_tool.arguments == {"x": 1}
    assert isinstance(tool_error, AgentErrorEvent)
    assert tool_error.is_error


def test_an_event_reads_well_in_a_log() -> None:
    assert str(parse_event(USER)) == "MessageEvent (user): go"
    assert str(parse_event(RESULT)) == "ObservationEvent (environment): terminal: hi"
    assert str(parse_event(STATUS)).endswith("execution_status = finished")
    assert "echo hi; false" in repr(parse_event(ACTION))
    assert (
        len(
            str(
                parse_event(
                    USER
                    | {
                        "llm_message": {
                            "role": "user",
                            "content": [{"type": "text", "text": "word " * 5000}],
                        }
                    }
                )
            )
        )
        < 300
    )


def test_an_unknown_kind_keeps_its_name_and_fields() -> None:
    event = parse_event({"id": "n", "kind": "FutureEvent", "source": "agent", "novelty": [1, 2]})
    assert type(event) is Event
    assert event.kind == "FutureEvent"
    assert event.novelty == [1, 2]  # type: ignore[attr-defined]
    assert str(event).startswith("FutureEvent")


def test_an_unknown_field_of_a_known_kind_stays() -> None:
    event = parse_event(RESULT | {"duration_ms": 12})
    assert isinstance(event, ObservationEvent)
    assert event.duration_ms == 12  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "data",
    [
        None,
        "text",
        17,
        [],
        {},
        {"kind": None},
        {"kind": ["MessageEvent"]},
        {"id": 5, "kind": "MessageEvent"},
        {"id": None, "kind": "ActionEvent"},
        {"id": "a", "kind": "MessageEvent"},
        {"id": "a", "kind": "MessageEvent", "llm_message": "no"},
        {"id": "a", "kind": "ActionEvent", "tool_name": 1, "tool_call_id": {}},
        {"id": "a", "kind": "ObservationEvent", "observation": {"content": "text"}},
        {"id": "a", "kind": "ConversationStateUpdateEvent"},
        {"id": "a", "kind": "StreamingDeltaEvent", "content": 3},
        {"id": "a", "source": {"who": "me"}, "timestamp": 12.5, "parent_id": 3},
    ],
)
def test_odd_input_becomes_an_event(data: object) -> None:
    event = parse_event(data)
    assert isinstance(event, Event)
    assert event.raw == (data if isinstance(data, dict) else {"value": data})
    assert isinstance(event.id, str)
    assert str(event)
    assert repr(event)
    log = EventLog()
    log.add(event)
    log.tool_calls()
    log.messages()
    log.errors()


def test_arguments_that_are_no_json_are_none() -> None:
    event = parse_event(NO_SUCH_TOOL | {"tool_call": {"arguments": "{broken"}})
    assert isinstance(event, ActionEvent)
    assert event.arguments == {}


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (STATUS, True),
        (STATUS | {"key": "full_state", "value": {}}, False),
        ({"id": "d", "kind": "StreamingDeltaEvent", "content": "wo"}, False),
        ({"kind": "FutureEvent"}, False),
        ({"id": "f", "kind": "FutureEvent"}, True),
    ],
)
def test_which_events_the_server_keeps(data: dict[str, Any], kept: bool) -> None:
    assert parse_event(data).is_persisted is kept


def test_the_kinds_of_state_updates_and_deltas() -> None:
    assert isinstance(parse_event(STATUS), ConversationStateUpdateEvent)
    delta = parse_event({"id": "d", "kind": "StreamingDeltaEvent", "content": "wo"})
    assert isinstance(delta, StreamingDeltaEvent)


def test_the_log_is_a_sequence_of_each_event_once() -> None:
    log = log_of(*RUN, *RUN)
    assert len(log) == len(RUN)
    assert [event.id for event in log] == [data["id"] for data in RUN]
    assert log[0].id == "e0"
    assert [event.id for event in log[-2:]] == ["e6", "e7"]
    assert log.last_id == "e7"
    assert parse_event(USER) in log
    assert EventLog().last_id is None


def test_tool_calls_come_with_their_results() -> None:
    terminal, nosuch, finish = log_of(*RUN).tool_calls()
    assert (terminal.name, terminal.result, terminal.is_error) == ("terminal", "hi", False)
    assert terminal.arguments["command"] == "echo hi; false"
    assert terminal.action.id == "e2"
    assert terminal.observation is not None
    assert terminal.observation.id == "e3"
    assert (nosuch.name, nosuch.result, nosuch.is_error) == (
        "nosuch",
        "Tool 'nosuch' not found.",
        True,
    )
    assert (finish.result, finish.observation) == (None, None)


def test_tool_calls_of_one_tool() -> None:
    log = log_of(*RUN)
    assert [call.name for call in log.tool_calls("terminal")] == ["terminal"]
    assert log.tool_calls("browser") == []


def test_a_call_id_that_comes_again_means_the_latest_call() -> None:
    second = ACTION | {"id": "e8", "action": {"command": "second", "kind": "TerminalAction"}}
    error = TOOL_ERROR | {"id": "e9", "tool_call_id": "call_1"}
    first_call, second_call = log_of(ACTION, RESULT, second, error).tool_calls()
    assert first_call.result == "hi"
    assert second_call.result == "Tool 'nosuch' not found."


def test_a_refused_call_counts_as_an_error() -> None:
    refusal = {
        "id": "r",
        "kind": "UserRejectObservation",
        "source": "environment",
        "tool_name": "terminal",
        "tool_call_id": "call_1",
        "action_id": "e2",
        "rejection_reason": "not today",
    }
    assert isinstance(parse_event(refusal), UserRejectObservation)
    (call,) = log_of(ACTION, refusal).tool_calls()
    assert (call.result, call.is_error) == ("not today", True)


def test_the_arguments_of_an_mcp_servers_tool() -> None:
    action = {"kind": "MCPToolAction", "data": {"word": "x"}, "summary": None}
    (call,) = log_of(ACTION | {"action": action, "tool_name": "count"}).tool_calls()
    assert call.arguments == {"word": "x"}
    (odd,) = log_of(ACTION | {"action": action | {"data": "x"}}).tool_calls()
    assert odd.arguments == {"data": "x", "summary": None}


def test_the_news_of_an_acp_call_are_joined() -> None:
    base = {"kind": "ACPToolCallEvent", "source": "agent", "tool_call_id": "t1"}
    started = base | {
        "id": "a1",
        "title": "ls",
        "tool_kind": "execute",
        "status": "pending",
        "raw_input": {"command": "ls"},
    }
    ended = base | {
        "id": "a2",
        "title": "ls",
        "tool_kind": "execute",
        "status": "completed",
        "raw_output": {"stdout": "README.md"},
    }
    (running,) = log_of(started).tool_calls()
    assert (running.result, running.observation) == (None, None)
    (call,) = log_of(started, ended).tool_calls("execute")
    assert call.arguments == {"command": "ls"}
    assert call.result == '{"stdout": "README.md"}'
    assert call.action.id == "a1"
    assert call.observation is not None
    failed = parse_event(ended | {"is_error": True})
    assert isinstance(failed, ACPToolCallEvent)
    assert failed.is_error


def test_messages_by_source() -> None:
    answer = USER | {"id": "m", "source": "agent"}
    log = log_of(USER, answer)
    assert [message.id for message in log.messages()] == ["e1", "m"]
    assert [message.id for message in log.messages("agent")] == ["m"]


def test_errors() -> None:
    tool_failed = RESULT | {"id": "x", "observation": RESULT["observation"] | {"is_error": True}}  # type: ignore[operator]
    failure = {"id": "y", "kind": "ConversationErrorEvent", "code": "Boom", "detail": "It broke."}
    log = log_of(*RUN, tool_failed, failure)
    assert [error.id for error in log.errors()] == ["e5", "x", "y"]
    last = log.errors()[-1]
    assert isinstance(last, ConversationErrorEvent)
    assert last.text == "Boom: It broke."


def test_the_final_message() -> None:
    answer = USER | {"id": "m", "source": "agent"}
    assert log_of(SYSTEM, USER).final_message is None
    assert log_of(*RUN).final_message == "all done"
    assert log_of(*RUN, answer).final_message == "go"


def test_a_log_that_grows_can_be_asked_meanwhile() -> None:
    log = EventLog()
    done = threading.Event()

    def grow() -> None:
        for number in range(3000):
            log.add(parse_event(ACTION | {"id": f"a{number}", "tool_call_id": f"c{number}"}))
        done.set()

    thread = threading.Thread(target=grow)
    thread.start()
    sizes = []
    while not done.is_set():
        sizes.append(len(log.tool_calls("terminal")))
    thread.join()
    assert sizes == sorted(sizes)
    assert len(log.tool_calls()) == 3000
