"""Which calls faults happen to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from pytest_agent_sandbox.errors import FaultUnused
from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser
from pytest_agent_sandbox.llm.cassettes.player import CassettePlayer
from pytest_agent_sandbox.llm.exchange import Answer, Exchange
from pytest_agent_sandbox.llm.fault_injection import Cut, Faults, ProviderFailure
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.pipeline import Policy
from pytest_agent_sandbox.llm.replies import say
from pytest_agent_sandbox.llm.script import Script
from pytest_agent_sandbox.plugin.agent_llm import AgentLLM
from tests.support.unchecked import tool

from .calls import post, text_of


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
