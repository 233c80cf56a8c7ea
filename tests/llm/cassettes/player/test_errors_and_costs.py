"""A provider's errors, and what its answers cost."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from pytest_agent_sandbox.errors import BudgetExceeded
from pytest_agent_sandbox.llm.budgets import Budget, Limits
from pytest_agent_sandbox.llm.cassettes.cassette import Cassette
from pytest_agent_sandbox.llm.pipeline import Policy
from tests.llm.cassettes.player.test_broken_answers import anthropic_start
from tests.support.provider import Provider

from .studio import ANYTHING, SSE, Flaky, Studio, Wire, ask, echo, new_player, post


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 529])
def test_an_error_that_is_tried_again_is_not_recorded(
    studio: Studio, file: Path, status: int
) -> None:
    player = new_player(file, "once")
    with studio.provided(Provider(echo)) as live:
        lane = studio.lane(player, Flaky(live, status))
        assert post(lane, ask("a")).status_code == status
        assert post(lane, ask("a")).status_code == 200
    assert player.save("m") == ""
    assert [interaction.answer.status for interaction in Cassette.load(file).lanes["1"]] == [200]
    player = new_player(file, "none")
    assert studio.say(player, "a") == ["You said: a"]
    player.verify()


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_a_refusal_is_recorded_and_replayed(studio: Studio, file: Path, status: int) -> None:
    player = new_player(file, "once")
    first = post(studio.lane(player, Flaky(None, status)), ask("a"))
    assert player.save("m") == ""
    player = new_player(file, "none")
    lane = studio.lane(player)
    second = post(lane, ask("a"))
    assert (second.status_code, second.json()) == (status, first.json())
    assert lane.calls[0].problem == f"The provider answered {status}."
    assert (lane.calls[0].origin, lane.calls[0].cost) == ("replayed", None)
    player.verify()


def test_an_overload_in_the_middle_of_a_stream_is_not_recorded(studio: Studio, file: Path) -> None:
    overload = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    said = b"event: error\ndata: " + json.dumps(overload).encode() + b"\n\n"
    player = new_player(file, "once")
    wire = Wire(anthropic_start(), said, media_type=SSE)
    assert "Overloaded" in post(studio.lane(player, wire), ask("a", stream=True), "/messages").text
    player.save("m")
    assert not file.exists()


def test_errors_alone_are_written_over_nothing(studio: Studio, file: Path) -> None:
    studio.record(file, "a")
    before = file.read_bytes()
    player = new_player(file, "all")
    assert post(studio.lane(player, Flaky(None, 503)), ask("a")).status_code == 503
    player.save("m")
    assert file.read_bytes() == before


def test_what_the_run_s_budget_refuses_is_not_recorded(studio: Studio, file: Path) -> None:
    player = new_player(file, "once")
    with studio.provided(Provider(echo), budget=Budget("run", Limits(calls=1))) as live:
        lane = studio.lane(player, live)
        statuses = [post(lane, ask(text)).status_code for text in "abc"]
        with pytest.raises(BudgetExceeded, match="run's budget llm_max_calls = 1"):
            lane.check()
    assert statuses == [200, 400, 400]
    assert [call.origin for call in lane.calls] == ["recorded", None, None]
    player.save("m")
    assert len(Cassette.load(file).lanes["1"]) == 1


def test_the_cost_is_known_with_the_last_event(studio: Studio, file: Path) -> None:
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 9}}\n\n'
    wire = Wire(usage, b"data: [DONE]\n\n", asyncio.Event(), media_type=SSE)
    player = new_player(file, "once")
    lane = studio.lane(player, wire)
    request = httpx.stream(
        "POST",
        lane.base_url("127.0.0.1") + "/chat/completions",
        json=ask("a", stream=True),
        headers={"Authorization": f"Bearer {lane.token}"},
    )
    with request as answer:
        chunks = answer.iter_raw()
        assert any(b"[DONE]" in chunk for chunk in chunks)
        assert player.save("m") == ""
    assert Cassette.load(file).lanes["1"][0].answer.cost


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
def test_a_cost_that_the_provider_tells_is_kept(studio: Studio, file: Path, streamed: bool) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 9, "cost": 0.0123}
    answer = json.dumps({"model": "m", "choices": [], "usage": usage}).encode()
    wire = Wire(answer)
    if streamed:
        wire = Wire(b"data: " + answer + b"\n\n", b"data: [DONE]\n\n", media_type=SSE)
    asked = {**ask("a", stream=streamed), "model": "a-model-of-no-table"}
    budget = Policy(Budget("test", Limits(cost=0.02)))
    player = new_player(file, "once")
    recorded = studio.lane(player, wire, policy=budget)
    assert [post(recorded, asked).status_code for _ in range(3)] == [200, 200, 400]
    assert [call.cost for call in recorded.calls] == [0.0123, 0.0123, None]
    assert "llm_max_cost = $0.02 is used up" in recorded.calls[2].problem
    assert player.save("m") == ""
    assert [r.answer.cost for r in Cassette.load(file).lanes["1"]] == [0.0123] * 2
    replayed = studio.lane(new_player(file, "none"))
    post(replayed, asked)
    assert replayed.calls[0].cost == 0.0123


def test_a_cost_in_a_litellm_proxy_s_header_counts(studio: Studio, file: Path) -> None:
    answer = json.dumps({"usage": {"prompt_tokens": 9, "completion_tokens": 9}}).encode()
    for told, cost in (("0.0123", 0.0123), ("0.0", None), ("None", None)):
        wire = Wire(answer, headers={"x-litellm-response-cost": told})
        lane = studio.lane(new_player(file, "all"), wire)
        post(lane, {**ask("a"), "model": "a-model-of-no-table"})
        assert lane.calls[0].cost == cost


def test_an_error_that_stays_one_writes_nothing(studio: Studio, file: Path) -> None:
    player = new_player(file, "all")
    lane = studio.lane(player, Flaky(Wire(b"{}"), 503))
    post(lane, ask("a"), ANYTHING)
    post(lane, ask("b"), ANYTHING)
    assert "call 1 of conversation 1 ended in an error of the provider" in player.save("m")
    assert lane.calls[0].origin != "recorded", "nothing was"
    assert not file.exists()
