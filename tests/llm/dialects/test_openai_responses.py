"""The scripted gateway's responses as OpenAI's own SDK sees them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response

from pytest_agent_sandbox.llm.dialects.openai_responses import OpenAIResponses
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.replies import LLMRequest, Reply, Usage, error, say
from pytest_agent_sandbox.llm.script import Script
from pytest_agent_sandbox.llm.sse import EventSplitter, ServerSentEvent, encode_event
from tests.support.unchecked import tool

Connect = Callable[..., openai.OpenAI]

DIALECT = OpenAIResponses()
TEXT = "A text that is longer than one chunk: grüße, 你好, 🎉."
REASONING = "I think about it. " * 5
TOOL = {"type": "function", "name": "terminal", "parameters": {"type": "object"}, "strict": False}
EVERYTHING = say(
    TEXT, tool("a", text="x" * 50), tool("b"), reasoning=REASONING, usage=Usage(90, 8, 60, 20)
)


def ask(client: openai.OpenAI, given: object = "hello", **more: object) -> Any:
    return client.responses.create(model="gpt-5", input=given, **more)


def as_sent(answer: Response) -> dict[str, Any]:
    """An answer without the time; strict about its form."""
    content = answer.to_dict(mode="json")
    Response.model_validate(content)
    return {name: value for name, value in content.items() if name != "created_at"}


def test_a_whole_answer(gateway: Gateway, connect: Connect) -> None:
    lane = gateway.open_lane(Script([EVERYTHING]), name="first")

    answer = ask(connect(lane), tools=[TOOL], parallel_tool_calls=False, instructions="Be brief.")

    Response.model_validate(answer.to_dict(mode="json"))
    assert (answer.id, answer.object, answer.model) == ("resp_first_1", "response", "gpt-5")
    assert (answer.status, answer.incomplete_details, answer.error) == ("completed", None, None)
    assert (answer.tool_choice, answer.parallel_tool_calls) == ("auto", False)
    assert answer.instructions == "Be brief."
    assert [given.name for given in answer.tools] == ["terminal"]
    assert answer.created_at > 0
    reasoning, message, one, two = answer.output
    assert (reasoning.type, reasoning.id) == ("reasoning", "rs_first_1")
    assert [part.text for part in reasoning.summary] == [REASONING]
    assert (message.type, message.id, message.role) == ("message", "msg_first_1", "assistant")
    assert message.content[0].annotations == []
    assert answer.output_text == TEXT
    assert (one.type, one.id, one.call_id) == ("function_call", "fc_first_1_0", "call_first_1_0")
    assert (one.name, json.loads(one.arguments)) == ("a", {"text": "x" * 50})
    assert (two.call_id, two.name, json.loads(two.arguments)) == ("call_first_1_1", "b", {})
    usage = answer.usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (90, 8, 98)
    assert usage.input_tokens_details.cached_tokens == 60
    assert usage.output_tokens_details.reasoning_tokens == 0
    assert lane.calls[0].usage == Usage(90, 8, 60, 20)
    assert (lane.calls[0].path, lane.calls[0].messages) == ("/responses", 1)
    lane.verify()


def test_only_what_a_reply_holds_is_put_out(gateway: Gateway, connect: Connect) -> None:
    client = connect(gateway.open_lane(Script([say("Hi."), tool("ls"), say("", reasoning="hm")])))
    kinds = [[item.type for item in ask(client).output] for _ in range(3)]
    assert kinds == [["message"], ["function_call"], ["reasoning"]]


@pytest.mark.parametrize("reply", [EVERYTHING, say("Cut o", finish_reason="length"), tool("ls")])
def test_a_stream_adds_up_to_the_same(gateway: Gateway, connect: Connect, reply: Reply) -> None:
    # Two lanes of one name: their first answers have the same ids.
    whole = ask(connect(gateway.open_lane(Script([reply]))), tools=[TOOL])
    other = connect(gateway.open_lane(Script([reply])))
    events = list(ask(other, tools=[TOOL], stream=True))
    assert as_sent(events[-1].response) == as_sent(whole)


def test_the_events_of_a_stream(gateway: Gateway, connect: Connect) -> None:
    reply = say("Hi.", tool("ls", a=1), reasoning="hm", usage=Usage(9, 8))
    events = list(ask(connect(gateway.open_lane(Script([reply]))), stream=True))
    for event in events:
        type(event).model_validate(event.to_dict(mode="json"))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    begun = events[0].response
    assert (begun.status, begun.output, begun.usage) == ("in_progress", [], None)
    added = [event.item for event in events if event.type == "response.output_item.added"]
    assert (added[0].summary, added[1].content, added[2].arguments) == ([], [], "")
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert done == events[-1].response.output
    assert [event.output_index for event in events if "item." in event.type] == [0, 0, 1, 1, 2, 2]
    ids = {event.item_id for event in events if hasattr(event, "item_id")}
    assert ids == {item.id for item in done}


def test_long_texts_come_in_pieces(gateway: Gateway, connect: Connect) -> None:
    events = list(ask(connect(gateway.open_lane(Script([EVERYTHING]))), stream=True))

    def deltas(kind: str) -> list[str]:
        return [event.delta for event in events if event.type == f"response.{kind}.delta"]

    for kind, text in [("output_text", TEXT), ("reasoning_summary_text", REASONING)]:
        assert len(deltas(kind)) > 1
        assert "".join(deltas(kind)) == text
    assert len(deltas("function_call_arguments")) > 2
    assert "".join(deltas("function_call_arguments")) == json.dumps({"text": "x" * 50}) + "{}"


def test_events_are_named_on_the_wire(gateway: Gateway) -> None:
    lane = gateway.open_lane(Script([say("Hi.")]))
    answer = httpx.post(
        f"{lane.base_url('127.0.0.1')}/responses",
        json={"model": "gpt-5", "input": "hello", "stream": True},
        headers={"Authorization": f"Bearer {lane.token}"},
    )
    events = EventSplitter().feed(answer.content)
    assert len(events) == 9
    assert all(event.name == event.content["type"] for event in events)
    assert [DIALECT.is_last(event) for event in events] == [False] * 8 + [True]


def test_the_sdk_builds_the_whole_answer_from_a_stream(gateway: Gateway, connect: Connect) -> None:
    client = connect(gateway.open_lane(Script([EVERYTHING])))
    with client.responses.stream(model="gpt-5", input="hello") as stream:
        answer = stream.get_final_response()
    assert answer.output_text == TEXT
    kinds = [item.type for item in answer.output]
    assert kinds == ["reasoning", "message", "function_call", "function_call"]


FINISHES = [
    (None, "completed", None),
    ("stop", "completed", None),
    ("length", "incomplete", "max_output_tokens"),
    ("max_output_tokens", "incomplete", "max_output_tokens"),
    ("content_filter", "incomplete", "content_filter"),
]


@pytest.mark.parametrize("stream", [False, True])
def test_finish_reasons(gateway: Gateway, connect: Connect, stream: bool) -> None:
    script = Script([say("Hi.", finish_reason=finish_reason) for finish_reason, _, _ in FINISHES])
    client = connect(gateway.open_lane(script))
    for _, status, reason in FINISHES:
        answer = ask(client, stream=stream)
        if stream:
            last = list(answer)[-1]
            assert last.type == f"response.{status}"
            answer = last.response
        assert answer.status == status
        assert (answer.incomplete_details and answer.incomplete_details.reason) == reason


ERRORS = [
    (400, openai.BadRequestError, "invalid_request_error", None),
    (401, openai.AuthenticationError, "authentication_error", "invalid_api_key"),
    (403, openai.PermissionDeniedError, "permission_error", None),
    (404, openai.NotFoundError, "invalid_request_error", None),
    (422, openai.UnprocessableEntityError, "invalid_request_error", None),
    (429, openai.RateLimitError, "rate_limit_error", "rate_limit_exceeded"),
    (500, openai.InternalServerError, "server_error", None),
    (503, openai.InternalServerError, "server_error", None),
]


@pytest.mark.parametrize("stream", [False, True])
def test_errors_have_the_provider_s_own_form(
    gateway: Gateway, connect: Connect, stream: bool
) -> None:
    headers = {"retry-after": "7"}
    script = Script([error(status, f"not {status}", headers) for status, _, _, _ in ERRORS])
    client = connect(gateway.open_lane(script))
    for status, failure, kind, code in ERRORS:
        with pytest.raises(failure, match=f"not {status}") as failed:
            ask(client, stream=stream)
        assert failed.value.status_code == status
        assert (failed.value.type, failed.value.code) == (kind, code)
        assert failed.value.response.headers["retry-after"] == "7"
    script.verify()


def test_a_retry_takes_the_next_reply(gateway: Gateway, connect: Connect) -> None:
    lane = gateway.open_lane(Script([error(503, headers={"retry-after-ms": "1"}), say("Again.")]))
    assert ask(connect(lane, max_retries=2)).output_text == "Again."
    assert [call.status for call in lane.calls] == [503, 200]


def test_a_function_sees_the_request(gateway: Gateway, connect: Connect) -> None:
    seen: list[LLMRequest] = []

    def echo(request: LLMRequest) -> Reply:
        seen.append(request)
        return say(f"You said {request.last_message}")

    client = connect(gateway.open_lane(Script([echo, echo, echo])))
    assert ask(client, "hi").output_text == "You said hi"
    parts = [{"role": "user", "content": [{"type": "input_text", "text": "you"}]}]
    assert ask(client, parts).output_text == "You said you"
    result = {"type": "function_call_output", "call_id": "call_1_1_0", "output": "a.txt"}
    answer = ask(client, [*parts, result], tools=[TOOL])
    assert answer.output_text == "You said a.txt"
    assert list(seen[0].messages) == [{"role": "user", "content": "hi"}]
    assert (len(seen[2].messages), list(seen[2].tools)) == (2, [TOOL])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"model": "gpt-5"}, "input"),
        ({"model": "gpt-5", "input": []}, "input"),
        ({"model": "gpt-5", "input": ["x"]}, "input"),
        ({"input": "hello"}, "no model"),
    ],
)
def test_a_malformed_request_is_refused(
    gateway: Gateway, connect: Connect, body: dict[str, Any], message: str
) -> None:
    lane = gateway.open_lane(Script([say("still there")]))
    client = connect(lane)
    with pytest.raises(openai.BadRequestError, match=message):
        client.post("/responses", cast_to=Response, body=body)
    assert ask(client).output_text == "still there"


def test_half_a_surrogate_pair_gets_through(gateway: Gateway, connect: Connect) -> None:
    client = connect(gateway.open_lane(Script([say("a \ud83d b"), say("a \ud83d b")])))
    assert ask(client).output_text == "a \ud83d b"
    assert list(ask(client, stream=True))[-1].response.output_text == "a \ud83d b"


PROVIDER_USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 64},
    "output_tokens": 30,
    "output_tokens_details": {"reasoning_tokens": 12},
    "total_tokens": 130,
}


@pytest.mark.parametrize(
    "content",
    [
        {"id": "resp_1", "object": "response", "status": "completed", "usage": PROVIDER_USAGE},
        {"type": "response.completed", "response": {"usage": PROVIDER_USAGE}},
        {"type": "response.incomplete", "response": {"usage": PROVIDER_USAGE}},
        {"type": "response.failed", "response": {"usage": PROVIDER_USAGE}},
    ],
)
def test_the_usage_that_a_provider_states(content: dict[str, Any]) -> None:
    assert DIALECT.usage(content, None) == Usage(100, 30, cache_read_tokens=64)
    assert DIALECT.usage(content, Usage(1, 1)) == Usage(100, 30, cache_read_tokens=64)


def test_a_cost_that_was_told_stays_where_a_later_event_tells_none() -> None:
    content = {"type": "response.completed", "response": {"usage": PROVIDER_USAGE}}
    told = DIALECT.usage(content, Usage(1, 1, cost=0.25))
    assert told == Usage(100, 30, cache_read_tokens=64, cost=0.25)
    content = {"usage": {**PROVIDER_USAGE, "cost": 0.5}}
    assert DIALECT.usage(content, told) == Usage(100, 30, cache_read_tokens=64, cost=0.5)


def test_tokens_put_into_the_cache_count() -> None:
    details = {"cached_tokens": 64, "cache_write_tokens": 16}
    content = {"usage": {**PROVIDER_USAGE, "input_tokens_details": details}}
    assert DIALECT.usage(content, None) == Usage(100, 30, 64, 16)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"usage": None},
        {"type": "response.created", "response": {"usage": None}},
        {"type": "response.output_text.delta", "delta": '"usage"'},
        {"type": "error", "message": "no", "response": "odd"},
        {"usage": {"input_tokens": "many"}},
    ],
)
def test_no_usage_leaves_what_was_booked(content: dict[str, Any]) -> None:
    assert DIALECT.usage(content, None) is None
    assert DIALECT.usage(content, Usage(1, 2)) == Usage(1, 2)


@pytest.mark.parametrize(
    ("raw", "last"),
    [
        (encode_event({"type": "response.completed"}), True),
        (encode_event({"type": "response.incomplete"}), True),
        (encode_event({"type": "response.failed"}), True),
        (encode_event({"type": "error", "message": "no"}), True),
        (encode_event({"error": {"message": "no"}}, "error"), True),
        (encode_event("[DONE]"), True),
        (encode_event({"type": "response.output_item.done"}), False),
        (encode_event({"type": "response.output_text.delta", "delta": "[DONE]"}), False),
        (b": keep-alive\n\n", False),
    ],
)
def test_the_last_event(raw: bytes, last: bool) -> None:
    assert DIALECT.is_last(ServerSentEvent(raw)) is last


@pytest.mark.parametrize(
    "tool",
    [
        TOOL,
        {"type": "custom", "name": "x"},
        {"type": "computer_use_preview"},
        {"type": "computer"},
        {"type": "local_shell"},
        {"type": "apply_patch"},
        {"type": "namespace", "name": "x", "tools": [TOOL]},
        {"type": "tool_search"},
        {"type": "shell"},
        {"type": "shell", "environment": None},
        {"type": "shell", "environment": {"type": "local"}},
    ],
)
def test_tools_that_the_client_runs(tool: dict[str, Any]) -> None:
    assert DIALECT.provider_tools({"tools": [tool]}) == []


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "web_search"},
        {"type": "web_search_preview_2025_03_11"},
        {"type": "file_search", "vector_store_ids": ["x"]},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "image_generation"},
        {"type": "mcp", "server_label": "x", "server_url": "https://example.org"},
        {"type": "shell", "environment": {"type": "container_auto"}},
        {"type": "shell", "environment": {}},
        {"type": "shell", "environment": "odd"},
        {"type": "of_tomorrow"},
    ],
)
def test_tools_that_the_provider_runs(tool: dict[str, Any]) -> None:
    assert DIALECT.provider_tools({"tools": [TOOL, tool]}) == [tool["type"]]


@pytest.mark.parametrize("content", [{}, {"tools": None}, {"tools": "odd"}, {"background": True}])
def test_no_tools_are_nobody_s(content: dict[str, Any]) -> None:
    assert DIALECT.provider_tools(content) == []


def test_tools_of_no_known_form_are_the_provider_s() -> None:
    assert DIALECT.provider_tools({"tools": [{}, {"type": ["function"]}]}) == [
        "None",
        "['function']",
    ]


def test_the_gateway_refuses_tools_of_the_provider(gateway: Gateway, connect: Connect) -> None:
    lane = gateway.open_lane(Script([say("still there")]))
    client = connect(lane)
    with pytest.raises(openai.BadRequestError, match="provider to run web_search"):
        ask(client, tools=[{"type": "web_search"}])
    assert ask(client).output_text == "still there"


def calls_of(content: dict[str, Any]) -> list[str]:
    response = content.get("response", content)
    return [item["arguments"] for item in response["output"] if item["type"] == "function_call"]


REQUEST = LLMRequest(1, "gpt-5", [{"role": "user", "content": "hello"}], [], {})


def test_malformed_arguments_in_a_whole_answer() -> None:
    answer = DIALECT.completion(REQUEST, EVERYTHING, "1_1")
    assert DIALECT.malformed(answer)
    assert calls_of(answer) == ["{" + json.dumps({"text": "x" * 50}), "{{}"]
    Response.model_validate(answer)
    assert answer["output"][1]["content"][0]["text"] == TEXT


def test_malformed_arguments_in_every_event_that_holds_them() -> None:
    chunks = b"".join(DIALECT.stream(REQUEST, say("Hi.", tool("a", x=1)), "1_1"))
    spoiled, untouched = {}, set()
    for event in EventSplitter().feed(chunks):
        content = event.content
        if DIALECT.malformed(content):
            spoiled[event.name] = content
        else:
            assert content == event.content
            untouched.add(event.name)
    assert set(spoiled) == {
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    }
    assert spoiled["response.function_call_arguments.delta"]["delta"] == '{{"x": 1}'
    assert spoiled["response.function_call_arguments.done"]["arguments"] == '{{"x": 1}'
    assert spoiled["response.output_item.done"]["item"]["arguments"] == '{{"x": 1}'
    assert calls_of(spoiled["response.completed"]) == ['{{"x": 1}']
    # The announcement of the call, whose arguments are still empty, and the message.
    assert {"response.output_item.added", "response.output_item.done"} <= untouched


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"output": None},
        {"output": [{"type": "message", "arguments": "x"}]},
        {"type": "response.output_text.delta", "delta": "x"},
        {"type": "response.mcp_call_arguments.delta", "delta": "x"},
        {"type": "response.function_call_arguments.delta", "delta": ""},
        {"type": "response.output_item.added", "item": {"type": "function_call", "arguments": ""}},
        {"type": "error", "response": None},
    ],
)
def test_nothing_to_make_malformed(content: dict[str, Any]) -> None:
    before = json.dumps(content)
    assert not DIALECT.malformed(content)
    assert json.dumps(content) == before
