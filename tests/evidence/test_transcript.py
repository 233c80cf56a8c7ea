"""The timeline of a conversation."""

from pytest_agent_sandbox.client.events import parse_event
from pytest_agent_sandbox.evidence.transcript import LivePrinter, Transcript


def event(kind, seconds=0.0, **fields):
    timestamp = f"2026-01-01T10:00:{seconds:09.6f}"
    return parse_event({"id": str(seconds), "kind": kind, "timestamp": timestamp, **fields})


def message(source, text, seconds=0.0):
    content = {"role": source, "content": [{"type": "text", "text": text}]}
    return event("MessageEvent", seconds, source=source, llm_message=content)


def action(tool, seconds=0.0, **arguments):
    return event(
        "ActionEvent",
        seconds,
        source="agent",
        tool_name=tool,
        tool_call_id="1",
        action={"kind": "X", **arguments},
        thought=[],
    )


def result(text, seconds=0.0):
    return event(
        "ObservationEvent",
        seconds,
        source="environment",
        tool_name="terminal",
        tool_call_id="1",
        action_id="a",
        observation={"content": [{"type": "text", "text": text}], "is_error": False},
    )


def status(value, seconds=0.0):
    return event("ConversationStateUpdateEvent", seconds, key="execution_status", value=value)


def rendered(*events):
    transcript = Transcript()
    for one in events:
        transcript.add("1", one)
    return transcript.render()


def test_the_story_is_told_with_times_people_tools_and_results():
    text = rendered(
        message("user", "List the files."),
        status("running", 0.1),
        action("terminal", 1.5, command="ls -l", is_input=False, timeout=None),
        result("a.txt\nb.txt", 1.75),
        message("agent", "Two files.", 3.0),
        status("finished", 3.1),
        status("finished", 3.2),
    )
    assert text.splitlines() == [
        "    0.00s  user     List the files.",
        "    0.10s  status   running",
        "    1.50s  agent    terminal  command: ls -l",
        "    1.75s  result   a.txt",
        "                    b.txt",
        "    3.00s  agent    Two files.",
        "    3.10s  status   finished",
    ]


def test_long_texts_are_shortened_and_say_so():
    lines = rendered(result("\n".join(f"line {n}" for n in range(100)))).splitlines()
    assert len(lines) == 6
    assert lines[-1].strip() == "… 95 more lines"
    (line,) = rendered(result("x" * 5000)).splitlines()
    assert line.endswith("… (5000 characters)")
    assert len(line) < 160


def test_only_the_last_steps_of_a_long_conversation_are_shown():
    lines = rendered(*[message("user", f"message {n}", n / 10) for n in range(100)]).splitlines()
    assert lines[0] == "… 40 earlier steps are in events.jsonl"
    assert lines[-1].endswith("message 99")


def test_events_of_unknown_kinds_are_named_and_odd_times_do_no_harm():
    text = rendered(
        parse_event({"id": "1", "kind": "NewThing", "source": "agent", "timestamp": "?"})
    )
    assert text == "           agent    NewThing\n"


def test_several_conversations_are_told_apart():
    transcript = Transcript()
    transcript.add("1", message("user", "one"))
    transcript.add("2", message("user", "two"))
    assert [line for line in transcript.render().splitlines() if line.startswith("conv")] == [
        "conversation 1",
        "conversation 2",
    ]


def test_nothing_happened():
    assert Transcript().render() == ""


def test_the_live_printer_prints_the_same_lines(capsys):
    show = LivePrinter()
    for one in (message("user", "Hello."), action("terminal", 1.0, command="ls")):
        show(one)
    assert capsys.readouterr().out.splitlines() == [
        "    0.00s  user     Hello.",
        "    1.00s  agent    terminal  command: ls",
    ]
