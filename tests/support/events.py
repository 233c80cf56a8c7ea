"""Events as the agent server sends them, and their records in events.jsonl."""

import json

#: What came at this time, `event` says was at that one.
RECEIVED = 1_767_261_600.0
TIME = "2026-01-01T10:00:{:09.6f}"


def event(kind, seconds=0.0, **fields):
    return {"id": f"{kind}-{seconds}", "kind": kind, "timestamp": TIME.format(seconds), **fields}


def texts(text):
    return [{"cache_prompt": False, "type": "text", "text": text}]


def message(source, text, seconds=0.0):
    said = {"role": source, "content": texts(text), "thinking_blocks": []}
    return event("MessageEvent", seconds, source=source, llm_message=said)


def action(seconds=0.0, call="call_1", tool="terminal", thought="", **arguments):
    return event(
        "ActionEvent",
        seconds,
        source="agent",
        tool_name=tool,
        tool_call_id=call,
        action={"kind": "TerminalAction", **arguments},
        tool_call={"id": call, "name": tool, "arguments": json.dumps(arguments)},
        thought=texts(thought) if thought else [],
        security_risk="UNKNOWN",
    )


def result(text, seconds=0.0, call="call_1", tool="terminal", exit_code=0, **fields):
    observation = {"content": texts(text), "is_error": False, "exit_code": exit_code, **fields}
    return event(
        "ObservationEvent",
        seconds,
        source="environment",
        tool_name=tool,
        tool_call_id=call,
        action_id="a",
        observation=observation,
    )


def status(value, seconds=0.0):
    return event(
        "ConversationStateUpdateEvent",
        seconds,
        source="environment",
        key="execution_status",
        value=value,
    )


def record(one, conversation="1", received=RECEIVED):
    return {"conversation": conversation, "received": received, "event": one}


def write_records(path, *records):
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
