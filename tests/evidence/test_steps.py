"""Events become steps."""

import json

import pytest

from pytest_agent_sandbox.client.events import parse_event
from pytest_agent_sandbox.evidence.clock import Clock
from pytest_agent_sandbox.evidence.steps import NO_RESULT, StepBuilder, build_step
from tests.support.events import RECEIVED, action, event, message, record, result, status


def told(*events, conversation="1"):
    return records_told(*(record(one, conversation) for one in events))


def records_told(*records):
    return StepBuilder(Clock(RECEIVED)).build(records)


def texts(step):
    return [(part.label, part.text) for part in step.parts]


def test_a_conversation():
    steps = told(
        message("user", "List the files."),
        status("running", 0.125),
        status("running", 0.25),
        action(1.5, command="ls -l", thought="I will look.", is_input=False, timeout=None),
        result("a.txt\nb.txt", 1.75),
        message("agent", "Two\nfiles.", 3.0),
        status("finished", 3.5),
    )
    assert [(step.kind, step.title, step.summary, step.time) for step in steps] == [
        ("message", "user", "List the files.", 0.0),
        ("state", "status", "running", 0.125),
        ("tool", "terminal", "ls -l", 1.5),
        ("message", "agent", "Two files.", 3.0),
        ("state", "status", "finished", 3.5),
    ]
    call = steps[2]
    assert call.tool == "terminal"
    assert call.duration == 0.25
    assert call.facts == [("exit code", "0")]
    assert texts(call) == [
        ("thought", "I will look."),
        ("command", "ls -l"),
        ("result", "a.txt\nb.txt"),
    ]
    assert call.parts[2].format == "terminal"
    assert texts(steps[3]) == [("text", "Two\nfiles.")]
    assert {step.conversation for step in steps} == {"1"}
    assert not any(step.is_error for step in steps)


def test_parallel_calls_find_their_results_in_any_order():
    first, second, third = told(
        action(1, "a", command="sleep 3"),
        action(1, "b", command="true"),
        action(1, "c", command="never ends"),
        result("quick", 2, "b"),
        result("slow", 4, "a"),
    )
    assert (first.parts[-1].text, first.duration) == ("slow", 3)
    assert (second.parts[-1].text, second.duration) == ("quick", 1)
    assert third.duration is None
    assert [part.label for part in third.parts] == ["command"]


def test_a_call_without_a_result_is_an_error_that_lasted_until_the_end():
    events = [message("user", "Go."), action(1, command="make"), status("running", 2)]
    records = [record(one, "1") for one in events]
    call = next(one for one in StepBuilder(Clock(RECEIVED), end=5).build(records) if one.tool)
    assert (call.is_error, call.duration, call.facts) == (True, 4, [NO_RESULT])
    waiting = [*records, record(status("waiting_for_confirmation", 3), "1")]
    call = next(one for one in StepBuilder(Clock(RECEIVED), end=5).build(waiting) if one.tool)
    assert (call.is_error, call.duration, call.facts) == (False, None, [])


def test_calls_of_two_conversations_may_have_the_same_id():
    steps = records_told(
        record(action(1, command="one"), "1"),
        record(action(1, command="two"), "2"),
        record(result("of two", 2), "2"),
        record(result("of one", 5), "1"),
    )
    assert [(step.conversation, step.parts[-1].text, step.duration) for step in steps] == [
        ("1", "of one", 4),
        ("2", "of two", 1),
    ]


def test_a_result_before_its_call_is_a_step_of_its_own():
    early, call = told(result("output", 1), action(2, command="ls"))
    assert (early.kind, early.title, early.summary) == ("tool", "terminal", "output")
    assert call.duration is None


def test_an_id_that_comes_again_is_another_call():
    steps = told(action(1, command="a"), result("A", 2), action(3, command="b"), result("B", 4))
    assert [step.parts[-1].text for step in steps] == ["A", "B"]


def test_a_call_without_an_id_takes_nothing_for_its_result():
    steps = told(
        action(1, "", command="ls"),
        message("agent", "done", 2),
        event("AgentErrorEvent", 3, source="agent", error="no such tool"),
    )
    assert [step.summary for step in steps] == ["ls", "done", "no such tool"]


def test_only_results_are_results():
    hook = event(
        "HookExecutionEvent", 2, hook_event_type="PreToolUse", tool_call_id="call_1", stdout="out"
    )
    new = event("NewThing", 3, source="agent", tool_call_id="call_1")
    call, asked, other = told(action(1, command="ls"), hook, new)
    assert len(call.parts) == 1
    assert (asked.title, asked.kind) == ("hook PreToolUse", "other")
    assert other.title == "NewThing"


@pytest.mark.parametrize(
    ("code", "is_error", "facts"),
    [
        (0, False, [("exit code", "0")]),
        (2, True, [("exit code", "2")]),
        (None, False, []),
        ("2", False, []),
    ],
)
def test_exit_codes(code, is_error, facts):
    (step,) = told(action(1, command="x"), result("", 2, exit_code=code))
    assert (step.is_error, step.facts) == (is_error, facts)


def test_how_calls_fail():
    rejected = event("UserRejectObservation", 2, source="user", tool_name="t", tool_call_id="a",
                     action_id="x", rejection_reason="too dangerous")  # fmt: skip
    broken = event("AgentErrorEvent", 4, source="agent", error="no such file", tool_call_id="b")
    steps = told(action(1, "a"), rejected, action(3, "b"), broken, action(5, "c"),
                 result("bad", 6, "c", is_error=True))  # fmt: skip
    assert [step.parts[-1].label for step in steps] == ["rejected", "error", "result"]
    assert [step.is_error for step in steps] == [False, True, True]


def test_time_does_not_run_backwards_within_a_conversation():
    steps = records_told(
        record(message("user", "a", 5), "1"),
        record(action(3), "1"),
        record(result("x", 4), "1"),
        record(message("user", "b", 1), "2"),
    )
    assert [(step.time, step.duration) for step in steps] == [(5, None), (5, 0), (1, None)]


def test_events_without_a_time():
    steps = told(message("user", "a") | {"timestamp": "?"}, action(1) | {"timestamp": ""},
                 result("x", 2))  # fmt: skip
    assert [(step.time, step.duration) for step in steps] == [(None, None), (None, None)]


def test_arguments():
    (one,) = told(action(1, command="ls", is_input=False, timeout=None, security=""))
    assert one.summary == "ls"
    (two,) = told(action(1, command="str_replace", path="/a b.py", view_range=[1, 20]))
    assert two.summary == "command: str_replace path: /a b.py view_range: [1, 20]"
    assert [label for label, _ in texts(two)] == ["command", "path", "arguments"]
    assert json.loads(two.parts[2].text) == {"view_range": [1, 20]}
    unread = action(1) | {"action": None, "tool_call": {"arguments": '{"command": "broken'}}
    (three,) = told(unread)
    assert texts(three) == [("arguments as written", '{"command": "broken')]


def test_a_risk_is_shown_where_it_is_known():
    (step,) = told(action(1) | {"security_risk": "HIGH"})
    assert ("risk", "high") in step.facts


def test_states():
    steps = told(
        event("PauseEvent", 1),
        event("InterruptEvent", 2),
        status("stuck", 3),
        event("ConversationStateUpdateEvent", 4, key="stats", value={}),
        event("ConversationStateUpdateEvent", 5, key="full_state", value={"execution_status": "x"}),
        status({"odd": 1}, 6),
    )
    assert [(step.summary, step.is_error) for step in steps] == [
        ("paused", False),
        ("interrupted", False),
        ("stuck", True),
        ("{'odd': 1}", False),
    ]


def test_errors_and_asides():
    steps = told(
        event("ConversationErrorEvent", 1, code="LLMError", detail="no key"),
        event("SystemPromptEvent", 2, system_prompt={"type": "text", "text": "You are …"}),
        event("Condensation", 3, forgotten_event_ids=["a", "b"]),
        event("HookExecutionEvent", 4, hook_event_type="Stop", blocked=True, stderr="no"),
        event("NewThing", 5, source="agent", said="hello"),
        event("StreamingDeltaEvent", 6, content="h"),
    )
    assert [(step.kind, step.title, step.is_error) for step in steps] == [
        ("error", "ConversationErrorEvent", True),
        ("other", "system prompt", False),
        ("other", "condensation", False),
        ("other", "hook Stop", True),
        ("other", "NewThing", False),
    ]
    assert steps[0].summary == "LLMError: no key"
    assert steps[2].summary == "2 events forgotten"
    assert '"said": "hello"' in steps[4].parts[0].text


def test_the_calls_of_an_acp_agent_have_several_events():
    def news(seconds, **fields):
        return event("ACPToolCallEvent", seconds, tool_call_id="x", title="Read", **fields)

    (step,) = told(
        news(1, status="pending", raw_input={"path": "a.txt"}),
        news(2, status="in_progress"),
        news(3, status="failed", raw_output="no such file", is_error=True),
    )
    assert (step.title, step.summary, step.duration, step.is_error) == ("Read", "a.txt", 2, True)
    assert step.facts == [("status", "failed")]
    assert texts(step)[-1] == ("result", "no such file")


def test_an_acp_call_may_be_told_late_what_it_is_about_or_never_end():
    def news(seconds, call, **fields):
        return event("ACPToolCallEvent", seconds, tool_call_id=call, tool_kind="execute", **fields)

    late, open_ = told(
        news(1, "x", title="Run", status="pending"),
        news(2, "x", title="Run", status="completed", raw_input={"command": "ls"}),
        news(3, "y", title="Run", status="pending", raw_input={"command": "sleep 99"}),
        news(4, "y", title="Run", status="in_progress", raw_output="so far"),
    )
    assert (late.title, late.summary, late.facts) == ("execute", "ls", [("status", "completed")])
    assert texts(late) == [("command", "ls")]
    assert not late.is_error
    assert open_.is_error
    assert NO_RESULT in open_.facts
    assert texts(open_) == [("command", "sleep 99"), ("result", "so far")]


@pytest.mark.parametrize(
    "one",
    [
        None,
        5,
        "text",
        [],
        {},
        {"kind": None},
        {"kind": "MessageEvent"},
        {"id": "1", "kind": "MessageEvent", "llm_message": "text"},
        {"id": 1, "kind": "ActionEvent", "tool_name": 5, "tool_call_id": ["x"]},
        {"id": "1", "kind": "ObservationEvent", "tool_call_id": {}, "observation": None},
        {"id": "1", "kind": "New", "tool_call_id": []},
        {"id": "\ud800", "kind": "\ud800", "source": "\ud800", "timestamp": "\ud800"},
        {"id": [], "kind": ["MessageEvent"], "timestamp": {}},
        event("ConversationErrorEvent", code=5, detail=None),
        event("ConversationStateUpdateEvent", key=[], value=[]),
        event("MessageEvent", source=5, llm_message={"role": 5, "content": [{"text": 5}]}),
        event("ActionEvent", tool_name="t", tool_call_id="c", action={"x": float("nan")}),
        event("ActionEvent", tool_name="t", tool_call_id="c", tool_call={"arguments": [1]}),
        event("ACPToolCallEvent", tool_call_id="c", raw_input=5, raw_output=[None], status="x"),
        event("SystemPromptEvent", system_prompt={"text": None}),
        event("Condensation", summary=5, forgotten_event_ids=5),
    ],
)
def test_events_that_are_not_what_their_kind_promises(one):
    steps = records_told({"event": one, "conversation": one}, {"event": one}, {})
    for step in steps:
        assert isinstance(step.summary, str)
        assert all(isinstance(part.text, str) for part in step.parts)
    # Its neighbours are told all the same.
    assert len(told(action(1), result("x", 2), message("user", "a", 3))) == 2
    build_step(parse_event(one))


def test_data_that_is_nested_deeply():
    deep = []
    for _ in range(900):
        deep = [deep]
    steps = told(
        event("NewThing", 1, deep=deep),
        action(2, deep=deep),
        event("ACPToolCallEvent", 3, tool_call_id="c", raw_input=deep, raw_output=deep),
    )
    assert len(steps) == 3


def test_long_texts_have_a_short_summary_and_stay_whole_for_the_page():
    text = "word " * 2_000_000
    said, call = told(message("user", text), action(1, tool="t" * 1000 + "\n", command=text))
    assert len(said.summary) <= 301
    assert len(call.summary) <= 301
    assert len(call.title) <= 81
    assert said.parts[0].text == text


@pytest.mark.parametrize(
    ("arguments", "summary"),
    [
        ({"command": "ls"}, "ls"),
        ({"include_screenshot": True}, "include_screenshot: true"),
        ({"include_screenshot": False}, ""),
        ({"index": 5}, "index: 5"),
        ({"timeout": 1.5, "is_input": False}, "timeout: 1.5"),
        ({"url": "http://x", "new_tab": True}, "url: http://x new_tab: true"),
        ({"paths": ["a"]}, '["a"]'),
        ({}, ""),
    ],
)
def test_arguments_on_one_line(arguments, summary):
    (step,) = told(action(1, tool="browser", **arguments))
    assert step.summary == summary


def test_pictures_are_those_of_the_call_and_of_its_result():
    forged = {"pictures": ["screenshot-9.png"]}
    records = [
        record(message("user", "Look.")) | {"pictures": ["screenshot-1.png"]},
        record(action(1, tool="browser", **forged) | forged),
        record(result("{}", 2, tool="browser", **forged))
        | {"pictures": ["screenshot-2.png", "screenshot-2.png", "../x.png", 5]},
        record(result("{}", 3, "another")) | {"pictures": ["screenshot-3.jpg"]},
        record(message("agent", "done", 4)) | {"pictures": "screenshot-1.png"},
    ]
    assert [step.pictures for step in records_told(*records)] == [
        ["screenshot-1.png"],
        ["screenshot-2.png"],
        ["screenshot-3.jpg"],
        [],
    ]
