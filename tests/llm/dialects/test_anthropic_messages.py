"""The scripted gateway's messages as Anthropic's own SDK sees them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types import Message

from pytest_agent_sandbox.llm.dialects.anthropic_messages import AnthropicMessages
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.replies import LLMRequest, Reply, Usage, error, say
from pytest_agent_sandbox.llm.script import Script
from pytest_agent_sandbox.llm.sse import EventSplitter, ServerSentEvent, encode_event
from tests.support.unchecked import tool

Connect = Callable[..., anthropic.Anthropic]

DIALECT = AnthropicMessages()
MODEL = "claude-sonnet-5"
HELLO = [{"role": "user", "content": "hello"}]
TEXT = "A text that is longer than one chunk: grüße, 你好, 🎉."
REASONING = "I think about it. " * 5
TOOL = {"name": "terminal", "input_schema": {"type": "object"}}
EVERYTHING = say(
    TEXT, tool("a", text="x" * 50), tool("b"), reasoning=REASONING, usage=Usage(90, 8, 60, 20)
)


def ask(client: anthropic.Anthropic, messages: object = HELLO, **more: object) -> Any:
    settings: Any = {"max_tokens": 1000, "model": MODEL, "messages": messages} | more
    return client.messages.create(**settings)


def test_a_whole_answer(gateway: Gateway, connect_anthropic: Connect) -> None:
    lane = gateway.open_lane(Script([EVERYTHING]), name="first")

    answer = ask(connect_anthropic(lane), tools=[TOOL], system="Be brief.")

    Message.model_validate(answer.to_dict(mode="json"))
    assert (answer.id, answer.type, answer.role) == ("msg_first_1", "message", "assistant")
    assert (answer.model, answer.stop_reason, answer.stop_sequence) == (MODEL, "tool_use", None)
    thinking, text, one, two = answer.content
    assert (thinking.type, thinking.thinking) == ("thinking", REASONING)
    assert thinking.signature
    assert (text.type, text.text) == ("text", TEXT)
    assert (one.type, one.id, one.name) == ("tool_use", "toolu_first_1_0", "a")
    assert one.input == {"text": "x" * 50}
    assert (two.id, two.name, two.input) == ("toolu_first_1_1", "b", {})
    usage = answer.usage
    assert (usage.input_tokens, usage.output_tokens) == (10, 8)
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (60, 20)
    assert lane.calls[0].usage == Usage(90, 8, 60, 20)
    assert (lane.calls[0].path, lane.calls[0].messages) == ("/messages", 1)
    lane.verify()


def test_only_what_a_reply_holds_is_in_its_content(
    gateway: Gateway, connect_anthropic: Connect
) -> None:
    script = Script([say("Hi."), tool("ls"), say("", reasoning="hm")])
    client = connect_anthropic(gateway.open_lane(script))
    kinds = [[block.type for block in ask(client).content] for _ in range(3)]
    assert kinds == [["text"], ["tool_use"], ["thinking"]]


@pytest.mark.parametrize("reply", [EVERYTHING, say("Cut o", finish_reason="length"), tool("ls")])
def test_a_stream_adds_up_to_the_same(
    gateway: Gateway, connect_anthropic: Connect, reply: Reply
) -> None:
    # Two lanes of one name: their first answers have the same ids.
    whole = ask(connect_anthropic(gateway.open_lane(Script([reply]))))
    lane = gateway.open_lane(Script([reply]))
    settings: Any = {"max_tokens": 1000, "model": MODEL, "messages": HELLO}
    with connect_anthropic(lane).messages.stream(**settings) as stream:
        answer = stream.get_final_message()
    Message.model_validate(whole.to_dict(mode="json"))
    assert answer.to_dict(exclude_none=True) == whole.to_dict(exclude_none=True)
    usage = whole.usage
    booked = Usage(
        usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens,
        usage.output_tokens,
        usage.cache_read_input_tokens,
        usage.cache_creation_input_tokens,
    )
    assert lane.calls[0].usage == booked


def test_the_events_of_a_stream(gateway: Gateway, connect_anthropic: Connect) -> None:
    reply = say("Hi.", tool("ls", a=1), reasoning="hm", usage=Usage(9, 8))
    events = list(ask(connect_anthropic(gateway.open_lane(Script([reply]))), stream=True))
    for event in events:
        type(event).model_validate(event.to_dict(mode="json"))
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    thinking = [*block[:2], *block[1:]]  # its signature comes as a second delta
    kinds = [event.type for event in events]
    assert kinds == ["message_start", *thinking, *block, *block, "message_delta", "message_stop"]
    begun = events[0].message
    assert (begun.content, begun.stop_reason) == ([], None)
    assert (begun.usage.input_tokens, begun.usage.output_tokens) == (9, 0)
    deltas = [event.delta.type for event in events if event.type == "content_block_delta"]
    assert deltas == ["thinking_delta", "signature_delta", "text_delta", "input_json_delta"]
    indexes = [event.index for event in events if hasattr(event, "index")]
    assert indexes == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert events[-2].delta.stop_reason == "tool_use"
    assert events[-2].usage.output_tokens == 8


def test_long_texts_come_in_pieces(gateway: Gateway, connect_anthropic: Connect) -> None:
    lane = gateway.open_lane(Script([EVERYTHING]))
    events = list(ask(connect_anthropic(lane), stream=True))

    def deltas(field: str) -> list[str]:
        found = (getattr(event.delta, field, None) for event in events if hasattr(event, "delta"))
        return [piece for piece in found if piece is not None]

    for field, text in [("text", TEXT), ("thinking", REASONING)]:
        assert len(deltas(field)) > 1
        assert "".join(deltas(field)) == text
    assert len(deltas("partial_json")) > 2
    assert "".join(deltas("partial_json")) == json.dumps({"text": "x" * 50}) + "{}"


def test_events_are_named_on_the_wire(gateway: Gateway) -> None:
    lane = gateway.open_lane(Script([say("Hi.")]))
    answer = httpx.post(
        f"{lane.base_url('127.0.0.1')}/messages",
        json={"model": MODEL, "messages": HELLO, "stream": True},
        headers={"x-api-key": lane.token},
    )
    events = EventSplitter().feed(answer.content)
    assert len(events) == 6
    assert all(event.name == event.content["type"] for event in events)
    assert [DIALECT.is_last(event) for event in events] == [False] * 5 + [True]


STOPS = [
    (say("Hi."), "end_turn"),
    (tool("ls"), "tool_use"),
    (say("Hi.", tool("ls")), "tool_use"),
    (say("Hi.", finish_reason="length"), "max_tokens"),
    (say("Hi.", tool("ls"), finish_reason="length"), "max_tokens"),
    (say("Hi.", finish_reason="refusal"), "refusal"),
]


@pytest.mark.parametrize("stream", [False, True])
def test_stop_reasons(gateway: Gateway, connect_anthropic: Connect, stream: bool) -> None:
    client = connect_anthropic(gateway.open_lane(Script([reply for reply, _ in STOPS])))
    for _, stop_reason in STOPS:
        answer = ask(client, stream=stream)
        if stream:
            [answer] = [event.delta for event in answer if event.type == "message_delta"]
        assert (answer.stop_reason, answer.stop_sequence) == (stop_reason, None)


ERRORS = [
    (400, anthropic.BadRequestError, "invalid_request_error"),
    (401, anthropic.AuthenticationError, "authentication_error"),
    (403, anthropic.PermissionDeniedError, "permission_error"),
    (404, anthropic.NotFoundError, "not_found_error"),
    (413, anthropic.APIStatusError, "request_too_large"),
    (422, anthropic.UnprocessableEntityError, "invalid_request_error"),
    (429, anthropic.RateLimitError, "rate_limit_error"),
    (500, anthropic.InternalServerError, "api_error"),
    (503, anthropic.InternalServerError, "api_error"),
    (529, anthropic.InternalServerError, "overloaded_error"),
]


@pytest.mark.parametrize("stream", [False, True])
def test_errors_have_the_provider_s_own_form(
    gateway: Gateway, connect_anthropic: Connect, stream: bool
) -> None:
    headers = {"retry-after": "7"}
    script = Script([error(status, f"not {status}", headers) for status, _, _ in ERRORS])
    client = connect_anthropic(gateway.open_lane(script))
    for status, failure, kind in ERRORS:
        with pytest.raises(failure, match=f"not {status}") as failed:
            ask(client, stream=stream)
        assert failed.value.status_code == status
        said = {"type": kind, "message": f"not {status}"}
        assert failed.value.body == {"type": "error", "error": said}
        assert failed.value.response.headers["retry-after"] == "7"
    script.verify()


def test_a_retry_takes_the_next_reply(gateway: Gateway, connect_anthropic: Connect) -> None:
    lane = gateway.open_lane(Script([error(529, headers={"retry-after-ms": "1"}), say("Again.")]))
    assert ask(connect_anthropic(lane, max_retries=2)).content[0].text == "Again."
    assert [call.status for call in lane.calls] == [529, 200]


def test_the_gateway_itself_answers_in_the_provider_s_form(
    gateway: Gateway, connect_anthropic: Connect
) -> None:
    lane = gateway.open_lane(Script([]))
    with pytest.raises(anthropic.AuthenticationError, match="none that this gateway knows"):
        ask(connect_anthropic(lane, api_key="wrong"))
    with pytest.raises(anthropic.BadRequestError, match="No reply is left") as refused:
        ask(connect_anthropic(lane, max_retries=5))
    assert refused.value.body["error"]["type"] == "invalid_request_error"  # type: ignore[index]
    assert len(lane.calls) == 1, "a client must not retry this"


def test_a_function_sees_the_request(gateway: Gateway, connect_anthropic: Connect) -> None:
    seen: list[LLMRequest] = []

    def echo(request: LLMRequest) -> Reply:
        seen.append(request)
        return say(f"You said {request.last_message}")

    client = connect_anthropic(gateway.open_lane(Script([echo, echo])))
    assert ask(client).content[0].text == "You said hello"
    call = {"type": "tool_use", "id": "toolu_1_1_0", "name": "terminal", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1_1_0", "content": "a.txt"}
    turns = [
        *HELLO,
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    assert ask(client, turns, tools=[TOOL]).content[0].text == "You said a.txt"
    assert (len(seen[1].messages), list(seen[1].tools)) == (3, [TOOL])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"model": MODEL}, "messages"),
        ({"model": MODEL, "messages": "hello"}, "messages"),
        ({"messages": HELLO}, "no model"),
    ],
)
def test_a_malformed_request_is_refused(
    gateway: Gateway, connect_anthropic: Connect, body: dict[str, Any], message: str
) -> None:
    client = connect_anthropic(gateway.open_lane(Script([say("still there")])))
    with pytest.raises(anthropic.BadRequestError, match=message):
        client.post("/v1/messages", cast_to=Message, body=body)
    assert ask(client).content[0].text == "still there"


def test_half_a_surrogate_pair_gets_through(gateway: Gateway, connect_anthropic: Connect) -> None:
    client = connect_anthropic(gateway.open_lane(Script([say("a \ud83d b"), say("a \ud83d b")])))
    assert ask(client).content[0].text == "a \ud83d b"
    deltas = [event.delta for event in ask(client, stream=True) if hasattr(event, "delta")]
    assert "".join(getattr(delta, "text", "") for delta in deltas) == "a \ud83d b"


PROVIDER_USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 20,
    "cache_read_input_tokens": 60,
    "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 30,
    "service_tier": "standard",
}


def test_the_usage_of_a_whole_answer() -> None:
    content = {"type": "message", "content": [], "usage": PROVIDER_USAGE}
    assert DIALECT.usage(content, None) == Usage(90, 30, 60, 20)
    assert DIALECT.usage(content, Usage(1, 1, 1, 0)) == Usage(90, 30, 60, 20)
    plain = {"usage": {"input_tokens": 10, "output_tokens": 3, "cache_read_input_tokens": None}}
    assert DIALECT.usage(plain, None) == Usage(10, 3)


def booked(*events: dict[str, Any]) -> Usage | None:
    usage = None
    for event in events:
        usage = DIALECT.usage(event, usage)
    return usage


def started(**usage: Any) -> dict[str, Any]:
    return {"type": "message_start", "message": {"type": "message", "usage": usage}}


def ended(**usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}


def test_the_usage_of_a_stream() -> None:
    start = started(**{**PROVIDER_USAGE, "output_tokens": 1})
    assert booked(start) == Usage(90, 1, 60, 20)
    assert booked(start, ended(output_tokens=30)) == Usage(90, 30, 60, 20)
    assert booked(start, ended(**PROVIDER_USAGE)) == Usage(90, 30, 60, 20)
    assert booked(start, {"type": "message_stop"}) == Usage(90, 1, 60, 20)
    nulls = dict.fromkeys(("input_tokens", "cache_read_input_tokens"))
    assert booked(start, ended(output_tokens=30, **nulls)) == Usage(90, 30, 60, 20)


def test_output_tokens_are_a_total() -> None:
    start = started(input_tokens=10, output_tokens=1)
    assert booked(start, ended(output_tokens=5), ended(output_tokens=9)) == Usage(10, 9)


def test_input_tokens_may_come_at_the_end() -> None:
    start = started(input_tokens=0, output_tokens=0)
    end = ended(input_tokens=10, cache_read_input_tokens=60, output_tokens=9)
    assert booked(start, end) == Usage(70, 9, 60)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"usage": None},
        {"usage": {}},
        {"usage": {"input_tokens": "many"}},
        {"type": "message_start", "message": "odd"},
        {"type": "error", "error": {"type": "overloaded_error", "message": "usage"}},
        {"input_tokens": 12},
    ],
)
def test_no_usage_leaves_what_was_booked(content: dict[str, Any]) -> None:
    assert DIALECT.usage(content, None) is None
    assert DIALECT.usage(content, Usage(1, 2)) == Usage(1, 2)


@pytest.mark.parametrize(
    ("raw", "last"),
    [
        (encode_event({"type": "message_stop"}, "message_stop"), True),
        (encode_event({"type": "error", "error": {}}, "error"), True),
        (encode_event({"error": "odd"}, "error"), True),
        (encode_event({"type": "message_stop"}), True),
        (encode_event({"type": "message_delta"}, "message_delta"), False),
        (encode_event({"type": "ping"}, "ping"), False),
        (b": keep-alive\n\n", False),
    ],
)
def test_the_last_event(raw: bytes, last: bool) -> None:
    assert DIALECT.is_last(ServerSentEvent(raw)) is last


@pytest.mark.parametrize(
    "tool",
    [
        TOOL,
        {**TOOL, "type": None},
        {**TOOL, "type": "custom"},
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
        {"type": "computer_20251124", "name": "computer"},
        {"type": "memory_20250818", "name": "memory"},
        {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"},
    ],
)
def test_tools_that_the_client_runs(tool: dict[str, Any]) -> None:
    assert DIALECT.provider_tools({"tools": [tool]}) == []


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "web_search_20250305", "name": "web_search"},
        {"type": "web_fetch_20250910", "name": "web_fetch"},
        {"type": "code_execution_20250825", "name": "code_execution"},
        {"type": "mcp_toolset", "mcp_server_name": "x"},
        {"type": "advisor_20260301", "name": "advisor", "model": MODEL},
        {"type": "of_tomorrow"},
        {"type": ["custom"]},
    ],
)
def test_tools_that_the_provider_runs(tool: dict[str, Any]) -> None:
    assert DIALECT.provider_tools({"tools": [TOOL, tool]}) == [str(tool["type"])]


def test_mcp_servers_are_the_provider_s() -> None:
    servers = [{"type": "url", "url": "https://example.org", "name": "x"}]
    assert DIALECT.provider_tools({"mcp_servers": servers}) == ["mcp_servers"]
    assert DIALECT.provider_tools({"mcp_servers": [], "tools": None}) == []


def test_the_gateway_refuses_tools_of_the_provider(
    gateway: Gateway, connect_anthropic: Connect
) -> None:
    client = connect_anthropic(gateway.open_lane(Script([say("still there")])))
    with pytest.raises(anthropic.BadRequestError, match="provider to run web_search_20250305"):
        ask(client, tools=[{"type": "web_search_20250305", "name": "web_search"}])
    assert ask(client).content[0].text == "still there"


REQUEST = LLMRequest(1, MODEL, HELLO, [], {})


def test_malformed_arguments_in_a_whole_answer() -> None:
    answer = DIALECT.completion(REQUEST, EVERYTHING, "1_1")
    assert DIALECT.malformed(answer)
    inputs = [block["input"] for block in answer["content"] if block["type"] == "tool_use"]
    assert inputs == ["{" + json.dumps({"text": "x" * 50}), "{{}"]
    assert answer["content"][1] == {"type": "text", "text": TEXT}


def test_malformed_arguments_in_a_stream() -> None:
    chunks = b"".join(DIALECT.stream(REQUEST, say("Hi.", tool("a", x=1)), "1_1"))
    spoiled = []
    for event in EventSplitter().feed(chunks):
        content = event.content
        if DIALECT.malformed(content):
            spoiled.append(content)
        else:
            assert content == event.content
    assert [content["delta"]["partial_json"] for content in spoiled] == ['{{"x": 1}']


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"content": None},
        {"content": [{"type": "text", "text": "x"}]},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x"}},
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": ""}},
        {"type": "content_block_start", "content_block": {"type": "tool_use", "input": {}}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
    ],
)
def test_nothing_to_make_malformed(content: dict[str, Any]) -> None:
    before = json.dumps(content)
    assert not DIALECT.malformed(content)
    assert json.dumps(content) == before
