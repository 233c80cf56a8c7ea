"""What a conversation takes in memory, which says all that was said before with every call."""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_agent_sandbox.errors import CassetteError
from pytest_agent_sandbox.llm.calls import LLMCall
from pytest_agent_sandbox.llm.cassettes import readable_json
from pytest_agent_sandbox.llm.cassettes.canonical import CanonicalRequest
from pytest_agent_sandbox.llm.cassettes.cassette import Cassette, Interaction, RecordedAnswer
from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser
from pytest_agent_sandbox.llm.cassettes.player import CassettePlayer, RecordMode
from pytest_agent_sandbox.llm.cassettes.request_store import RequestStore
from pytest_agent_sandbox.llm.connections import Connections
from pytest_agent_sandbox.llm.dialects import DIALECTS
from pytest_agent_sandbox.llm.exchange import Answer, Exchange, json_answer

TOOLS = [{"name": f"tool_{number}", "description": "x" * 500} for number in range(10)]

turns = st.lists(st.sampled_from([{"a": 1}, {"a": True}, {"a": 1.0}, "a", "b", None, []]))
bodies = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "model": st.sampled_from(["m", "n"]),
            "messages": turns | st.none(),
            "input": turns | st.just("a text"),
            "tools": st.just(TOOLS),
        },
    ),
    turns,
    st.just("a text"),
)


def request(body: Any) -> CanonicalRequest:
    return CanonicalRequest("openai-chat", "POST", "/chat/completions", body)


@given(st.lists(bodies))
def test_what_is_stored_comes_back_as_it_was(stored: list[Any]) -> None:
    store = RequestStore()
    requests = [store.add(request(body)) for body in stored]
    for one, body in zip(requests, stored, strict=True):
        assert json.dumps(one.body) == json.dumps(body), "1, 1.0 and True are told apart"
        assert (one.key, one.skeleton) == (request(body).key, request(body).skeleton)


def conversation_with_moving_marks(calls: int) -> list[CanonicalRequest]:
    """As agents ask Anthropic: the last turn is marked, and so is the one before it."""
    mark = {"cache_control": {"type": "ephemeral"}}
    requests = []
    for number in range(calls):
        said: list[Any] = []
        for i in range(number + 1):
            marked = mark if i >= number - 1 else {}
            printed = {"type": "text", "text": "x" * 500, **marked}
            result = {"type": "tool_result", "content": [printed], **marked}
            said.append({"role": "user", "content": [result, {"type": "text", "text": f"{i}"}]})
        requests.append(request({"model": "m", "system": [mark], "messages": said}))
    return requests


def test_a_mark_that_moves_on_repeats_nothing(tmp_path: Path) -> None:
    requests = conversation_with_moving_marks(60)
    answer = RecordedAnswer(200, {}, None, 1, {"a": 1})
    lane = [Interaction(each, answer) for each in requests]
    file = tmp_path / "a.json"
    Cassette("t", "m", {"1": lane}).save(file)
    assert file.read_text().count("x" * 500) == 60
    read = Cassette.load(file).lanes["1"]
    assert list(read) == lane
    assert [each.request.key for each in read] == [each.key for each in requests]
    Cassette("t", "m", {"1": read}).save(tmp_path / "b.json")
    assert (tmp_path / "b.json").read_bytes() == file.read_bytes()


def test_marks_of_an_earlier_release_s_cassette_stay_where_they_were() -> None:
    first, _ = conversation_with_moving_marks(2)
    new = [{"role": "user", "content": "b", "cache_control": 1}]
    store = RequestStore()
    went_on = store.add_continuation(first, store.add(first), "messages", new)
    assert went_on.body == {**first.body, "messages": [*first.body["messages"], *new]}


@pytest.mark.parametrize("at", [[7], [0, 7], [0, 1, 0], []], ids=str)
def test_a_mark_of_no_turn_is_damage(tmp_path: Path, at: list[int]) -> None:
    answer = RecordedAnswer(200, {}, None, 1, {"a": 1})
    lane = [Interaction(each, answer) for each in conversation_with_moving_marks(2)]
    file = tmp_path / "a.json"
    Cassette("t", "m", {"1": lane}).save(file)
    content = readable_json.decode(file.read_text())
    content["lanes"]["1"][1]["request"]["marks"] = [{"at": at, "is": {}}]
    file.write_text(readable_json.encode(content))
    with pytest.raises(CassetteError, match="damaged"):
        Cassette.load(file)


class Provider:
    async def answer(self, exchange: Exchange) -> Answer:
        exchange.call.origin = "live"
        return json_answer({"choices": [], "usage": {}})

    def check(self) -> None:
        """Nothing to raise."""

    verify = check


def peak(file: Path, mode: RecordMode, calls: int) -> int:
    """Bytes that one conversation takes at most, from the first call to the written cassette."""

    async def talk(player: CassettePlayer) -> None:
        lane = player.source("1", Provider() if mode == "all" else None)
        said = [{"role": "user", "content": f"{number} {'x' * 500}"} for number in range(calls)]
        for number in range(calls):
            body = {"model": "m", "messages": said[: number + 1], "tools": TOOLS}
            call = LLMCall(number + 1, datetime.now(UTC), "/chat/completions")
            place = ("1", "POST", "/chat/completions", "", {})
            content = json.dumps(body).encode()
            exchange = Exchange(*place, content, DIALECTS[0], call, Connections())
            answer = await lane.answer(exchange)
            assert [chunk async for chunk in answer.chunks]
            assert answer.status == 200

    gc.collect()
    tracemalloc.start()
    try:
        player = CassettePlayer(file, test="t", mode=mode, match="strict", normalise=Normaliser())
        asyncio.run(talk(player))
        player.verify()
        assert player.save("m") == ""
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_grows_as_the_conversation_does(tmp_path: Path) -> None:
    """Not as all its requests together, which are four times as much for twice the calls."""
    peaks = {}
    for calls in (10, 60, 120):  # the first imports what is imported late
        file = tmp_path / f"{calls}.json"
        peaks[calls] = peak(file, "all", calls), peak(file, "none", calls)
        assert len(Cassette.load(file).lanes["1"]) == calls
    for half, whole in zip(peaks[60], peaks[120], strict=True):
        assert whole < 2.5 * half
