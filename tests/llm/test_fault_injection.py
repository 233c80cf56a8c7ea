"""Faults on purpose, as OpenAI's and Anthropic's own clients meet them."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from pytest_agent_sandbox.errors import FaultUnused, SettingsError
from pytest_agent_sandbox.host.redaction import Redactor
from pytest_agent_sandbox.llm.budgets import Budget, Limits
from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser
from pytest_agent_sandbox.llm.cassettes.player import CassettePlayer
from pytest_agent_sandbox.llm.exchange import Answer, Exchange, raw_headers
from pytest_agent_sandbox.llm.fault_injection import (
    Cut,
    Faults,
    MalformedArguments,
    ProviderFailure,
)
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.pipeline import Policy
from pytest_agent_sandbox.llm.prices import Prices
from pytest_agent_sandbox.llm.replies import say, tool
from pytest_agent_sandbox.llm.script import Script
from pytest_agent_sandbox.plugin.agent_llm import AgentLLM
from pytest_agent_sandbox.settings.table import SandboxSettings

from .sockets import open_sockets

ASKED: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
CLAUDE: Any = {**ASKED, "model": "claude-of-a-test", "max_tokens": 99}
TEXT = "A text that takes some chunks of a stream to say. " * 4
ARGUMENTS = {"command": "echo " * 20, "list": [1, {"a": "ü"}]}

#: In the words of each client's own HTTP library.
BROKEN_OFF = r"peer closed connection|Connection error"

each_way = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@pytest.fixture(scope="module", autouse=True)
def nothing_left() -> Iterator[None]:
    """Looks at the end of all tests: they share a gateway, which takes 0.2 s to close."""
    threads, sockets = set(threading.enumerate()), open_sockets()
    yield
    deadline = time.monotonic() + 2
    while not set(threading.enumerate()) <= threads or open_sockets() > sockets:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def gateway(nothing_left: None) -> Iterator[Gateway]:
    with Gateway() as gateway:
        yield gateway


class Host:
    """The gateway of a host whose containers are this machine."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def open_lane(self, source: Any, *, name: str, policy: Any, observer: Any) -> Lane:
        return self._gateway.open_lane(source, name, policy)

    def llm_fields(self, lane: Lane, model: str) -> dict[str, str]:
        return {"model": model, "base_url": lane.base_url("127.0.0.1"), "api_key": lane.token}


@pytest.fixture
def llm(tmp_path: Path) -> Iterator[AgentLLM]:
    with AgentLLM(
        test="test_x.py::test_y",
        cassette=tmp_path / "cassette.json",
        settings=SandboxSettings(),
        own=SandboxSettings(),
        prices=Prices(),
        run_budget=Budget("run", Limits()),
        secrets=Redactor(),
        environment={},
    ) as llm:
        yield llm


@pytest.fixture
def start(llm: AgentLLM, gateway: Gateway) -> Callable[..., Lane]:
    """A conversation with these replies, by the lane that it is led through."""

    def start(*replies: Any, name: str = "1") -> Lane:
        host: Any = Host(gateway)
        agent = {"llm": {"model": "x", "usage_id": "agent"}}
        return llm.connect(agent, host, script=replies, name=name, known={})[1]

    return start


def text_of(client: openai.OpenAI, *, streamed: bool, **other: Any) -> str:
    """What the model says."""
    if not streamed:
        answer = client.chat.completions.create(**ASKED, **other)
        return str(answer.choices[0].message.content)
    chunks = client.chat.completions.create(**ASKED, stream=True, **other)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


# Errors


@each_way
def test_a_client_tries_again_after_as_long_as_it_is_told(
    llm: AgentLLM,
    start: Callable[..., Lane],
    connect: Callable[..., openai.OpenAI],
    streamed: bool,
) -> None:
    """Left to itself it would wait for half a second at most."""
    lane = start(say(TEXT))
    llm.fail_next(429, retry_after=1)
    begun = time.monotonic()
    assert text_of(connect(lane, max_retries=2), streamed=streamed) == TEXT
    assert time.monotonic() - begun >= 1
    assert [call.status for call in lane.calls] == [429, 200]
    assert lane.calls[0].problem == "Failed on purpose with 429."
    llm.verify()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
        (599, openai.InternalServerError),
    ],
)
@each_way
def test_an_error_has_the_provider_s_form(
    llm: AgentLLM,
    start: Callable[..., Lane],
    connect: Callable[..., openai.OpenAI],
    status: int,
    kind: type[openai.APIStatusError],
    streamed: bool,
) -> None:
    lane = start(say("ok"))
    llm.fail_next(status, "Zu viel für heute.")
    with pytest.raises(kind, match=r"Zu viel für heute\.") as failure:
        text_of(connect(lane), streamed=streamed)
    assert failure.value.status_code == status
    assert "retry-after" not in failure.value.response.headers
    assert text_of(connect(lane), streamed=streamed) == "ok", "no reply is used up by a fault"
    llm.verify()


def test_an_error_has_anthropic_s_form_too(
    llm: AgentLLM,
    start: Callable[..., Lane],
    connect_anthropic: Callable[..., anthropic.Anthropic],
) -> None:
    lane = start(say("ok"))
    llm.fail_next(529, "Overloaded")
    with pytest.raises(anthropic.APIStatusError, match="Overloaded") as failure:
        connect_anthropic(lane).messages.create(**CLAUDE)
    assert failure.value.status_code == 529
    assert failure.value.body["error"]["type"] == "overloaded_error"  # type: ignore[index]


def test_many_errors_in_a_row(
    llm: AgentLLM, start: Callable[..., Lane], connect: Callable[..., openai.OpenAI]
) -> None:
    lane = start(say("ok"))
    llm.fail_next(503, retry_after=0.01, times=2)
    llm.fail_next(429, retry_after=0.01)
    client = connect(lane, max_retries=1)
    with pytest.raises(openai.InternalServerError):
        text_of(client, streamed=False)
    assert text_of(client, streamed=False) == "ok"
    assert [call.status for call in lane.calls] == [503, 503, 429, 200]
    llm.verify()


def test_each_error_meets_one_of_many_calls_at_a_time(
    llm: AgentLLM, start: Callable[..., Lane], connect: Callable[..., openai.OpenAI]
) -> None:
    lanes = [start(*[say("ok")] * 10, name=name) for name in ("1", "2")]
    llm.fail_next(500, times=8)
    clients = [connect(lane) for lane in lanes]

    def ask(number: int) -> str:
        try:
            return text_of(clients[number % 2], streamed=False)
        except openai.InternalServerError:
            return "failed"

    with ThreadPoolExecutor(10) as pool:
        said = list(pool.map(ask, range(20)))
    assert said.count("failed") == 8
    assert said.count("ok") == 12


@pytest.mark.parametrize("status", [0, 200, 302, 399, 600])
def test_a_status_that_is_none_of_an_error(llm: AgentLLM, status: int) -> None:
    with pytest.raises(SettingsError, match=rf"fail_next\({status}\)"):
        llm.fail_next(status)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda llm: llm.fail_next(429, retry_after=-1),
        lambda llm: llm.fail_next(429, retry_after=float("nan")),
        lambda llm: llm.fail_next(429, times=0),
        lambda llm: llm.fail_next(429, times=-1),
        lambda llm: llm.delay_next(-1),
        lambda llm: llm.delay_next(float("inf")),
        lambda llm: llm.cut_next(after=-1),
        lambda llm: llm.malform_next(times=0),
    ],
)
def test_a_fault_that_cannot_happen_is_refused(
    llm: AgentLLM, wrong: Callable[[AgentLLM], None]
) -> None:
    with pytest.raises(SettingsError):
        wrong(llm)


@pytest.mark.parametrize("seconds", [1234567, 3600.125])
def test_a_long_wait_is_written_in_full(
    llm: AgentLLM, start: Callable[..., Lane], seconds: float
) -> None:
    llm.fail_next(429, retry_after=seconds)
    assert post(start(say("ok"))).headers["retry-after"] == str(seconds)


# Delays


@each_way
def test_a_delay_comes_before_the_answer_and_holds_up_nobody_else(
    llm: AgentLLM,
    start: Callable[..., Lane],
    connect: Callable[..., openai.OpenAI],
    streamed: bool,
) -> None:
    slow, fast = start(say("slow"), name="1"), start(say("fast"), name="2")
    llm.delay_next(0.4)
    with ThreadPoolExecutor(1) as pool:
        begun = time.monotonic()
        waiting = pool.submit(text_of, connect(slow), streamed=streamed)
        while not slow.calls:
            time.sleep(0.002)
        assert text_of(connect(fast), streamed=streamed) == "fast"
        assert time.monotonic() - begun < 0.4
        assert waiting.result() == "slow"
    assert time.monotonic() - begun >= 0.4
    llm.verify()


def test_a_client_that_does_not_wait_gets_the_same_answer_when_it_tries_again(
    llm: AgentLLM, start: Callable[..., Lane], connect: Callable[..., openai.OpenAI]
) -> None:
    lane = start(say("first"))
    llm.delay_next(60)
    client = connect(lane, timeout=0.15, max_retries=1)
    assert text_of(client, streamed=False) == "first"
    assert [call.status for call in lane.calls] == [None, 200]
    assert "went away" in lane.calls[0].problem
    llm.verify()


# Cuts


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


# Malformed arguments


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


# Which calls they happen to


def test_faults_happen_in_the_order_in_which_they_were_asked_for(
    llm: AgentLLM, start: Callable[..., Lane]
) -> None:
    lane = start(tool("a"), say("b"))
    llm.fail_next(503)
    llm.malform_next()
    llm.fail_next(429, times=2)
    answers = [post(lane) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [503, 200, 429, 429, 200]
    assert "{{" in answers[1].text
    llm.verify()


def test_only_completions_have_faults(llm: AgentLLM, start: Callable[..., Lane]) -> None:
    lane = start(say("ok"))
    llm.fail_next(503)
    assert httpx.get(
        lane.base_url("127.0.0.1") + "/models", headers={"x-api-key": lane.token}
    ).is_success
    for path in ("/embeddings", "/messages/count_tokens"):
        assert post(lane, path).status_code == 404
    assert post(lane).status_code == 503


@pytest.mark.parametrize(
    ("add", "named"),
    [
        (lambda llm: llm.fail_next(503), "ProviderFailure(status=503"),
        (lambda llm: llm.delay_next(5), "Delay(seconds=5"),
        (lambda llm: llm.cut_next(after=3), "Cut(after=3"),
        (lambda llm: llm.malform_next(), "MalformedArguments()"),
    ],
    ids=["fail", "delay", "cut", "malform"],
)
def test_a_fault_that_did_not_happen_fails_the_test(
    llm: AgentLLM, start: Callable[..., Lane], add: Callable[[AgentLLM], None], named: str
) -> None:
    lane = start(say("ok"))
    post(lane)
    add(llm)
    add(llm)
    with pytest.raises(FaultUnused, match="2 of the faults") as failure:
        llm.verify()
    assert named in str(failure.value)


def test_a_tool_call_that_never_comes_leaves_its_fault_unused(
    llm: AgentLLM, start: Callable[..., Lane]
) -> None:
    lane = start(say("ok"))
    llm.malform_next()
    post(lane)
    with pytest.raises(FaultUnused, match="MalformedArguments"):
        llm.verify()


class Live(Script):
    """A provider with a script."""

    async def answer(self, exchange: Exchange) -> Answer:
        answer = await super().answer(exchange)
        exchange.call.origin = "live"
        return answer


@pytest.mark.parametrize("fault", [ProviderFailure(503, "No."), Cut(1)], ids=repr)
def test_a_replay_with_the_same_fault_goes_as_the_recording_did(
    gateway: Gateway, connect: Callable[..., openai.OpenAI], tmp_path: Path, fault: Any
) -> None:
    def said(mode: Any, upstream: Any) -> str:
        file, normalise = tmp_path / "cassette.json", Normaliser()
        player = CassettePlayer(file, test="t", mode=mode, match="strict", normalise=normalise)
        faults = Faults()
        faults.add(fault)
        lane = gateway.open_lane(player.source("1", upstream), policy=Policy(faults=faults))
        text = text_of(connect(lane, max_retries=1), streamed=False)
        player.verify()
        assert player.save("m") == ""
        return text

    assert said("once", Live([say("one"), say("two")])) == said("once", None)


def post(lane: Lane, path: str = "/chat/completions", body: Any = None) -> httpx.Response:
    return httpx.post(
        lane.base_url("127.0.0.1") + path,
        json=ASKED if body is None else body,
        headers={"x-api-key": lane.token},
    )
