"""Faults on purpose, as OpenAI's and Anthropic's own clients meet them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import anthropic
import openai
import pytest

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.replies import say
from pytest_agent_sandbox.plugin.agent_llm import AgentLLM

from .calls import CLAUDE, TEXT, each_way, post, text_of


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
