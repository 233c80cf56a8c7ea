"""Answers that are cut off, and tool calls whose arguments are no JSON."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import anthropic
import httpx
import openai
import pytest

from pytest_agent_sandbox.llm.exchange import Answer, Exchange, raw_headers
from pytest_agent_sandbox.llm.fault_injection import Faults, MalformedArguments
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.pipeline import Policy
from pytest_agent_sandbox.llm.replies import say
from pytest_agent_sandbox.plugin.agent_llm import AgentLLM
from tests.support.unchecked import tool

from .calls import ARGUMENTS, ASKED, BROKEN_OFF, CLAUDE, TEXT, each_way, post, text_of


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_stream_is_cut_after_so_many_events(
    llm: AgentLLM,
    start: Callable[..., Lane],
    connect: Callable[..., openai.OpenAI],
    after: int,
) -> None:
    lane = start(say(TEXT), say("second"))
    llm.cut_next(after=after)
    client = connect(lane)
    seen: list[Any] = []
    with pytest.raises(Exception, match=BROKEN_OFF):
        seen.extend(client.chat.completions.create(**ASKED, stream=True))
    assert len(seen) == after
    assert "cut off on purpose" in lane.calls[0].problem
    assert text_of(client, streamed=True) == "second", "the first reply is used up"
    llm.verify()


def test_half_of_a_whole_answer_gets_through(
    llm: AgentLLM, start: Callable[..., Lane], connect: Callable[..., openai.OpenAI]
) -> None:
    lane = start(say(TEXT), say("second"))
    llm.cut_next()
    assert text_of(connect(lane, max_retries=1), streamed=False) == "second"
    assert len(lane.calls) == 2


def test_an_anthropic_stream_is_cut_too(
    llm: AgentLLM,
    start: Callable[..., Lane],
    connect_anthropic: Callable[..., anthropic.Anthropic],
) -> None:
    lane = start(say(TEXT))
    llm.cut_next(after=3)
    seen: list[Any] = []
    with pytest.raises(Exception, match=BROKEN_OFF):
        seen.extend(connect_anthropic(lane).messages.create(**CLAUDE, stream=True))
    assert len(seen) == 3
    assert seen[0].type == "message_start"


def arguments_of(client: openai.OpenAI, *, streamed: bool) -> str:
    """The arguments of the one tool call of an answer."""
    if not streamed:
        calls = client.chat.completions.create(**ASKED).choices[0].message.tool_calls
        assert calls
        return str(calls[0].function.arguments)  # type: ignore[union-attr]
    said = ""
    for chunk in client.chat.completions.create(**ASKED, stream=True):
        for call in chunk.choices[0].delta.tool_calls or []:
            said += (call.function and call.function.arguments) or ""
    return said


@each_way
def test_the_arguments_of_a_tool_call_are_no_json(
    llm: AgentLLM,
    start: Callable[..., Lane],
    connect: Callable[..., openai.OpenAI],
    streamed: bool,
) -> None:
    client = connect(start(tool("sh", **ARGUMENTS), tool("sh", **ARGUMENTS)))
    llm.malform_next()
    spoiled = arguments_of(client, streamed=streamed)
    assert "command" in spoiled
    with pytest.raises(ValueError, match=r"Expecting|Extra"):
        json.loads(spoiled)
    assert json.loads(arguments_of(client, streamed=streamed)) == ARGUMENTS
    llm.verify()


@each_way
def test_the_arguments_of_a_response_s_call_are_no_json(
    llm: AgentLLM,
    start: Callable[..., Lane],
    connect: Callable[..., openai.OpenAI],
    streamed: bool,
) -> None:
    client = connect(start(tool("sh", **ARGUMENTS)))
    llm.malform_next()
    answer = client.responses.create(model="gpt-4o", input="hello", stream=streamed)
    if streamed:
        events = [event.to_dict() for event in answer]  # type: ignore[union-attr]
        said = "".join(
            str(e["delta"]) for e in events if e["type"] == "response.function_call_arguments.delta"
        )
        items = [e["item"] for e in events if e["type"] == "response.output_item.done"]
        items += events[-1]["response"]["output"]  # type: ignore[index]
        spoiled = [said, *(item["arguments"] for item in items)]
    else:
        spoiled = [answer.output[0].arguments]  # type: ignore[union-attr]
    for text in spoiled:
        with pytest.raises(ValueError, match=r"Expecting|Extra"):
            json.loads(text)
    llm.verify()


@each_way
def test_the_input_of_an_anthropic_call_is_no_object(
    llm: AgentLLM, start: Callable[..., Lane], streamed: bool
) -> None:
    """Anthropic's own client may well fail at it, so it is not asked here."""
    lane = start(say("text", tool("sh", **ARGUMENTS)))
    llm.malform_next()
    answer = post(lane, "/messages", {**CLAUDE, "stream": streamed})
    if streamed:
        events = [json.loads(line[6:]) for line in answer.text.splitlines() if line[:5] == "data:"]
        deltas = [e["delta"] for e in events if e["type"] == "content_block_delta"]
        spoiled = "".join(delta.get("partial_json", "") for delta in deltas)
        assert "".join(delta.get("text", "") for delta in deltas) == "text"
    else:
        spoiled = answer.json()["content"][1]["input"]
        assert answer.json()["content"][0]["text"] == "text"
    with pytest.raises(ValueError, match=r"Expecting|Extra"):
        json.loads(spoiled)
    llm.verify()


@each_way
def test_an_answer_without_tool_calls_leaves_it_to_the_next(
    llm: AgentLLM,
    start: Callable[..., Lane],
    connect: Callable[..., openai.OpenAI],
    streamed: bool,
) -> None:
    client = connect(start(say(TEXT), tool("sh", **ARGUMENTS)))
    llm.malform_next()
    assert text_of(client, streamed=streamed) == TEXT
    with pytest.raises(ValueError, match=r"Expecting|Extra"):
        json.loads(arguments_of(client, streamed=streamed))
    llm.verify()


class Lingering:
    """A provider that says something, and then nothing for a long time."""

    async def answer(self, exchange: Exchange) -> Answer:
        exchange.call.origin = "live"
        return Answer(200, raw_headers({"content-type": "text/event-stream"}), self._body())

    async def _body(self) -> AsyncGenerator[bytes, None]:
        yield b'data: {"choices": []}\n\n'
        await asyncio.sleep(60)

    def check(self) -> None:
        """Nothing to raise."""

    verify = check


def test_a_client_that_goes_away_leaves_it_to_the_next_too(gateway: Gateway) -> None:
    faults = Faults()
    faults.add(MalformedArguments(faults))
    lane = gateway.open_lane(Lingering(), policy=Policy(faults=faults))
    request = httpx.stream(
        "POST",
        lane.base_url("127.0.0.1") + "/chat/completions",
        json={**ASKED, "stream": True},
        headers={"x-api-key": lane.token},
    )
    with request as answer:
        next(answer.iter_raw())
    deadline = time.monotonic() + 2
    while lane.calls[0].duration is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(faults.left) == 1
