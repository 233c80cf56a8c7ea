"""The scripted gateway as OpenAI's own SDK sees it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from pytest_agent_sandbox.errors import LLMScriptExhausted, LLMScriptUnused, SettingsError
from pytest_agent_sandbox.llm.dialects.openai_chat import OpenAIChat
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.replies import LLMRequest, Reply, Usage, delay, error, say
from pytest_agent_sandbox.llm.script import Script
from tests.support.timing import eventually
from tests.support.unchecked import tool

Connect = Callable[..., openai.OpenAI]

HELLO = [{"role": "user", "content": "hello"}]
TEXT = "A text that is longer than one chunk: grüße, 你好, 🎉."


def ask(client: openai.OpenAI, text: str = "hello", **more: object) -> object:
    return client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": text}], **more
    )


def text_of(answer: object) -> str:
    if isinstance(answer, openai.types.chat.ChatCompletion):
        return answer.choices[0].message.content or ""
    return "".join(chunk.choices[0].delta.content or "" for chunk in answer)


def test_text_and_tool_calls(gateway: Gateway, connect: Connect) -> None:
    script = Script(
        [
            say(TEXT, usage=Usage(120, 30)),
            tool("terminal", command="echo grüße"),
            say("Both.", tool("a"), tool("b", x=[1, None]), reasoning="hm", finish_reason="length"),
        ]
    )
    lane = gateway.open_lane(script, name="first")
    client = connect(lane)

    one, two, three = (ask(client) for _ in range(3))

    assert one.choices[0].message.content == TEXT
    assert one.choices[0].finish_reason == "stop"
    assert (one.usage.prompt_tokens, one.usage.completion_tokens) == (120, 30)
    assert one.usage.total_tokens == 150
    assert (one.id, one.model) == ("chatcmpl-first_1", "gpt-4o")
    call = two.choices[0].message.tool_calls[0]
    assert (call.id, call.function.name) == ("call_first_2_0", "terminal")
    assert json.loads(call.function.arguments) == {"command": "echo grüße"}
    assert two.choices[0].finish_reason == "tool_calls"
    assert two.choices[0].message.content is None
    assert two.usage.prompt_tokens > 0
    assert two.usage.completion_tokens > 0
    message = three.choices[0].message
    assert [call.id for call in message.tool_calls] == ["call_first_3_0", "call_first_3_1"]
    assert json.loads(message.tool_calls[1].function.arguments) == {"x": [1, None]}
    assert message.reasoning_content == "hm"
    assert three.choices[0].finish_reason == "length"
    lane.check()
    lane.verify()
    assert [record.number for record in lane.calls] == [1, 2, 3]
    record = lane.calls[0]
    assert (record.path, record.model, record.messages) == ("/chat/completions", "gpt-4o", 1)
    assert (record.status, record.usage, record.problem) == (200, Usage(120, 30), "")
    assert record.started.tzinfo is not None
    assert record.duration is not None
    assert 0 < record.duration < 5


@pytest.mark.parametrize("with_usage", [True, False])
def test_a_stream_adds_up_to_the_same(gateway: Gateway, connect: Connect, with_usage: bool) -> None:
    reply = say(TEXT, tool("a", text="x" * 50), tool("b"), reasoning="hm " * 20, usage=Usage(9, 8))
    lane = gateway.open_lane(Script([reply]))
    options = {"stream_options": {"include_usage": True}} if with_usage else {}

    chunks = list(ask(connect(lane), stream=True, **options))

    usages = [chunk.usage for chunk in chunks if chunk.usage]
    assert [usage.total_tokens for usage in usages] == ([17] if with_usage else [])
    assert {chunk.id for chunk in chunks} == {"chatcmpl-1_1"}
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    deltas = [choice.delta for choice in choices]
    assert deltas[0].role == "assistant"
    assert sum(bool(delta.content) for delta in deltas) > 1
    assert "".join(delta.content or "" for delta in deltas) == TEXT
    reasoning = (getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert "".join(reasoning) == "hm " * 20
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["tool_calls"]
    calls: dict[int, list[str]] = {}
    for delta in deltas:
        for call in delta.tool_calls or []:
            parts = calls.setdefault(call.index, [])
            parts += [call.id, call.function.name] if call.id else []
            parts.append(call.function.arguments)
    assert calls[0][:2] == ["call_1_1_0", "a"]
    assert json.loads("".join(calls[0][2:])) == {"text": "x" * 50}
    assert calls[1][:2] == ["call_1_1_1", "b"]
    assert json.loads("".join(calls[1][2:])) == {}


def test_the_sdk_builds_the_whole_answer_from_a_stream(gateway: Gateway, connect: Connect) -> None:
    client = connect(gateway.open_lane(Script([say(TEXT, tool("terminal", command="ls"))])))
    with client.chat.completions.stream(model="gpt-4o", messages=HELLO) as stream:  # type: ignore[arg-type]
        message = stream.get_final_completion().choices[0].message
    assert message.content == TEXT
    assert json.loads(message.tool_calls[0].function.arguments) == {"command": "ls"}  # type: ignore


def test_errors_have_the_provider_s_own_form(gateway: Gateway, connect: Connect) -> None:
    script = Script(
        [error(429, "slow down", headers={"retry-after": "7"}), error(500), error(400, "no")]
    )
    client = connect(gateway.open_lane(script))
    with pytest.raises(openai.RateLimitError, match="slow down") as limited:
        ask(client)
    assert limited.value.response.headers["retry-after"] == "7"
    assert limited.value.type == "rate_limit_error"
    assert limited.value.code == "rate_limit_exceeded"
    with pytest.raises(openai.InternalServerError, match="Scripted error 500"):
        ask(client, stream=True)
    with pytest.raises(openai.BadRequestError, match="no"):
        ask(client)
    script.verify()


def test_a_retry_takes_the_next_reply(gateway: Gateway, connect: Connect) -> None:
    script = Script([error(429, headers={"retry-after-ms": "1"}), say("Again.")])
    lane = gateway.open_lane(script)
    answer = ask(connect(lane, max_retries=2))
    assert answer.choices[0].message.content == "Again."
    assert [call.status for call in lane.calls] == [429, 200]
    assert lane.calls[0].problem == "Scripted error 429."
    lane.verify()


def test_a_script_that_is_used_up_refuses_and_fails_the_test(
    gateway: Gateway, connect: Connect
) -> None:
    lane = gateway.open_lane(Script([say("one"), say("two")]))
    client = connect(lane, max_retries=5)
    ask(client)
    ask(client)
    lane.check()
    with pytest.raises(openai.BadRequestError, match="Request 3: No reply is left") as over:
        ask(client, text="and\n now " + "x" * 1000)
    assert "xxx" not in str(over.value)
    assert len(lane.calls) == 3, "a client must not retry this"
    for _ in range(2):
        with pytest.raises(LLMScriptExhausted) as failure:
            lane.check()
    message = str(failure.value)
    assert "asked its LLM for reply 3, and the script holds 2" in message
    assert "'and now xxx" in message
    assert len(message) < 700
    with pytest.raises(LLMScriptExhausted):
        lane.verify()


def test_replies_that_are_left_are_listed(gateway: Gateway, connect: Connect) -> None:
    lane = gateway.open_lane(Script([say("one"), tool("terminal", command="ls"), error(500)]))
    ask(connect(lane))
    lane.check()
    with pytest.raises(LLMScriptUnused) as failure:
        lane.verify()
    assert "used 1 of the script's 3" in str(failure.value)
    assert "2. unchecked(tool('terminal', command='ls'))" in str(failure.value)
    assert "3. error(500" in str(failure.value)


def test_a_function_sees_the_request(gateway: Gateway, connect: Connect) -> None:
    seen: list[LLMRequest] = []

    def echo(request: LLMRequest) -> Reply:
        seen.append(request)
        return say(f"You said {request.last_message}")

    client = connect(gateway.open_lane(Script([say("first"), delay(0, echo)])))
    ask(client)
    tools = [{"type": "function", "function": {"name": "terminal", "parameters": {}}}]
    answer = ask(client, text="hi", tools=tools, temperature=0.5)
    assert answer.choices[0].message.content == "You said hi"
    assert (seen[0].number, seen[0].model, seen[0].tools) == (2, "gpt-4o", tools)
    assert seen[0].body["temperature"] == 0.5


def raises_assertion(request: LLMRequest) -> Reply:
    assert request.last_message == "something else"
    return say("")


def raises_pytest_fail(request: LLMRequest) -> Reply:
    pytest.fail("the agent said something strange")


@pytest.mark.parametrize(
    ("function", "failure", "message"),
    [
        (raises_assertion, AssertionError, "something else"),
        (raises_pytest_fail, pytest.fail.Exception, "something strange"),
        (lambda request: "hi", SettingsError, r"What reply 1 of the script, a function, returned"),
        (lambda request: None, SettingsError, r"\(NoneType\)"),
        (lambda request: raises_assertion, SettingsError, "give say"),
    ],
)
def test_what_a_function_raises_is_the_test_s_failure(
    gateway: Gateway,
    connect: Connect,
    function: Callable[[LLMRequest], Reply],
    failure: type[BaseException],
    message: str,
) -> None:
    lane = gateway.open_lane(Script([function]))
    with pytest.raises(openai.BadRequestError, match="Reply 1 of the script, a function, failed"):
        ask(connect(lane, max_retries=5))
    for check in (lane.check, lane.check, lane.verify):
        with pytest.raises(failure, match=message) as raised:
            check()
    names = [entry.name for entry in raised.traceback]
    if failure is not SettingsError:
        assert names.count(function.__name__) == 1
        assert names.count("check") == 1, "a kept traceback must not grow"


def test_a_delay_is_before_the_first_byte(gateway: Gateway, connect: Connect) -> None:
    lane = gateway.open_lane(Script([delay(0.2, say("Late."))]))
    begun = time.monotonic()
    assert text_of(ask(connect(lane))) == "Late."
    assert time.monotonic() - begun >= 0.2


def test_a_client_that_goes_away_has_used_its_reply_up(gateway: Gateway, connect: Connect) -> None:
    lane = gateway.open_lane(Script([delay(30, say("Never heard.")), say("Heard.")]))
    with pytest.raises(openai.APITimeoutError):
        ask(connect(lane, timeout=0.2))
    assert text_of(ask(connect(lane))) == "Heard."
    lane.verify()
    eventually(lambda: lane.calls[0].duration is not None)
    assert "went away" in lane.calls[0].problem
    assert lane.calls[0].status is None


def test_concurrent_requests_are_served_in_order_of_arrival(
    gateway: Gateway, connect: Connect
) -> None:
    lane = gateway.open_lane(Script([delay(0.5, say("slow")), say("quick")]))
    client = connect(lane)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(ask, client)
        eventually(lambda: len(lane.calls) == 1)
        second = pool.submit(ask, client)
        assert text_of(second.result()) == "quick"
        assert not first.done()
        assert text_of(first.result()) == "slow"


def test_eight_lanes_do_not_mix(gateway: Gateway, connect: Connect) -> None:
    rounds = 25

    def converse(name: str) -> list[str]:
        script = Script([say(f"{name} {number}") for number in range(rounds)])
        with gateway.open_lane(script, name=name) as lane:
            client = connect(lane)
            answers = [text_of(ask(client, stream=number % 2 == 1)) for number in range(rounds)]
            lane.verify()
        return answers

    names = [f"lane-{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for name, answers in zip(names, pool.map(converse, names), strict=True):
            assert answers == [f"{name} {number}" for number in range(rounds)]


def test_many_requests_at_once_on_one_lane_lose_none(gateway: Gateway, connect: Connect) -> None:
    lane = gateway.open_lane(Script([say(str(number)) for number in range(200)]))
    client = connect(lane)
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: ask(client), range(200)))
    contents = [answer.choices[0].message.content for answer in answers]
    assert sorted(map(int, contents)) == list(range(200))
    # Each answer's ids belong to the call that got the reply.
    assert {answer.id for answer in answers} == {f"chatcmpl-1_{n}" for n in range(1, 201)}
    assert all(a.id == f"chatcmpl-1_{int(a.choices[0].message.content) + 1}" for a in answers)
    lane.verify()


def test_a_slow_function_holds_nobody_up(gateway: Gateway, connect: Connect) -> None:
    release = threading.Event()

    def slow(request: LLMRequest) -> Reply:
        release.wait(20)
        return say("slow")

    blocked = gateway.open_lane(Script([slow]))
    other = gateway.open_lane(Script([say("quick")]))
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, connect(blocked))
        eventually(lambda: len(blocked.calls) == 1)
        assert text_of(ask(connect(other))) == "quick"
        release.set()
        assert text_of(waiting.result()) == "slow"


def test_models(gateway: Gateway, connect: Connect) -> None:
    lane = gateway.open_lane(Script([]))
    assert [model.id for model in connect(lane).models.list()] == ["scripted"]
    assert lane.calls == ()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{not json", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"messages": []}', "no model"),
        (b'{"model": "m", "messages": []}', "messages"),
        (b'{"model": "m", "messages": ["x"]}', "messages"),
        (b'{"model": "m", "messages": [{}], "tools": {"a": 1}}', "tools"),
    ],
)
def test_a_malformed_request_is_refused_and_uses_nothing_up(
    gateway: Gateway, connect: Connect, body: bytes, message: str
) -> None:
    lane = gateway.open_lane(Script([say("still there")]))
    answer = httpx.post(
        f"{lane.base_url('127.0.0.1')}/chat/completions",
        content=body,
        headers={"Authorization": f"Bearer {lane.token}"},
    )
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    lane.check()
    assert text_of(ask(connect(lane))) == "still there"


def test_half_a_surrogate_pair_gets_through(gateway: Gateway, connect: Connect) -> None:
    lane = gateway.open_lane(Script([say("a \ud83d b"), say("a \ud83d b")]))
    client = connect(lane)
    assert text_of(ask(client)) == "a \ud83d b"
    assert text_of(ask(client, stream=True)) == "a \ud83d b"


def test_a_cost_that_was_told_stays_where_a_later_event_tells_none() -> None:
    tokens = {"prompt_tokens": 3, "completion_tokens": 2}
    told = OpenAIChat().usage({"usage": {**tokens, "cost": 0.25}}, None)
    assert OpenAIChat().usage({"usage": tokens}, told) == Usage(3, 2, cost=0.25)
    assert OpenAIChat().usage({"usage": {**tokens, "cost": 0.5}}, told) == Usage(3, 2, cost=0.5)
