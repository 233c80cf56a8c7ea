"""Recording and replaying through a real gateway, with OpenAI's own client."""

from __future__ import annotations

import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from pytest_agent_sandbox.errors import CassetteError, CassetteMiss
from pytest_agent_sandbox.llm.cassettes.cassette import Cassette
from pytest_agent_sandbox.llm.cassettes.player import CassettePlayer
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.replies import Usage, say
from tests.support.provider import Provider

from .studio import Studio, Wire, ask, echo, events_of, new_player, post


@pytest.mark.parametrize("mode", ["once", "new_episodes", "all"])
def test_a_recording_is_replayed_without_the_provider(
    studio: Studio, file: Path, mode: str
) -> None:
    provider = Provider([say("One.", usage=Usage(1000, 100)), say("Two.")])
    turns = [ask("a"), ask("a", "One.", "b")]
    with studio.provided(provider) as live:
        player = new_player(file, mode)
        lane = studio.lane(player, live)
        recorded = [studio.client(lane).chat.completions.create(**turn) for turn in turns]
        player.verify()
    assert not file.exists(), "written when the test has passed"
    assert player.save("openai/gpt-4o") == ""
    assert [call.origin for call in lane.calls] == ["recorded"] * 2
    cost, usage = lane.calls[0].cost, lane.calls[0].usage
    assert cost

    player = new_player(file, "none")
    assert player.model == "openai/gpt-4o"
    lane = studio.lane(player)
    replayed = [studio.client(lane).chat.completions.create(**turn) for turn in turns]
    assert replayed == recorded
    player.verify()
    assert player.save("openai/gpt-4o") == ""
    assert [call.origin for call in lane.calls] == ["replayed"] * 2
    assert (lane.calls[0].cost, lane.calls[0].usage) == (cost, usage)
    assert len(provider.requests) == 2


MODES = [
    # mode, what is in the cassette, the origins of a's and b's answer, and what is in it then
    ("none", "", [None, None], ""),
    ("none", "a", ["replayed", None], "a"),
    ("once", "", ["recorded", "recorded"], "ab"),
    ("once", "a", ["replayed", None], "a"),
    ("new_episodes", "", ["recorded", "recorded"], "ab"),
    ("new_episodes", "a", ["replayed", "recorded"], "ab"),
    ("new_episodes", "b", ["recorded", "replayed"], "ab"),
    ("all", "", ["recorded", "recorded"], "ab"),
    ("all", "a", ["recorded", "recorded"], "ab"),
    ("all", "c", ["recorded", "recorded"], "ab"),
]


@pytest.mark.parametrize(("mode", "before", "origins", "after"), MODES)
def test_record_modes(
    studio: Studio, file: Path, mode: str, before: str, origins: list[Any], after: str
) -> None:
    if before:
        studio.record(file, *before)
    with studio.provided(Provider(echo)) as live:
        player = new_player(file, mode)
        lane = studio.lane(player, live)
        statuses = [post(lane, ask(text)).status_code for text in "ab"]
    assert [call.origin for call in lane.calls] == origins
    assert statuses == [200 if origin else 400 for origin in origins]
    if None in origins:
        with pytest.raises(CassetteMiss):
            player.verify()
    else:
        player.verify()
    player.save("openai/gpt-4o")
    assert file.exists() == bool(after)
    if after:
        recorded = Cassette.load(file).lanes["1"]
        assert "".join(r.request.body["messages"][0]["content"] for r in recorded) == after


def test_nothing_is_written_where_nothing_is_new(studio: Studio, file: Path) -> None:
    studio.record(file, "a", "b")
    before = file.stat()
    with studio.provided(Provider(echo)) as live:
        player = new_player(file, "new_episodes")
        studio.say(player, "a", "b", upstream=live)
    player.save("openai/gpt-4o")
    assert file.stat().st_mtime_ns == before.st_mtime_ns


def test_new_episodes_drop_what_nobody_asks_for_any_more(studio: Studio, file: Path) -> None:
    studio.record(file, "a", "b")
    with studio.provided(Provider(echo)) as live:
        player = new_player(file, "new_episodes")
        studio.say(player, "a", upstream=live)
    assert "no longer holds 1 answers that nobody asked for" in player.save("openai/gpt-4o")
    assert len(Cassette.load(file).lanes["1"]) == 1


def test_a_test_that_asks_nothing_writes_nothing(studio: Studio, file: Path) -> None:
    player = new_player(file, "all")
    studio.lane(player, Wire(b"{}"))
    assert player.save("m") == ""
    assert not file.exists()


def test_a_recording_may_be_written_elsewhere(studio: Studio, file: Path, tmp_path: Path) -> None:
    studio.record(file, "a")
    before = file.read_bytes()
    player = new_player(file, "all")
    with studio.provided(Provider(echo)) as live:
        studio.say(player, "b", upstream=live)
    assert player.save("m", tmp_path / "kept.json") == ""
    assert file.read_bytes() == before
    assert len(Cassette.load(tmp_path / "kept.json").lanes["1"]) == 1


def test_a_damaged_cassette_is_not_used_and_can_be_recorded_anew(
    studio: Studio, file: Path
) -> None:
    studio.record(file, "a")
    file.write_text("<<<<<<< HEAD")
    for mode in ("none", "once", "new_episodes"):
        with pytest.raises(CassetteError, match="record the test anew"):
            new_player(file, mode)
    studio.record(file, "a")
    assert studio.say(new_player(file, "none"), "a") == ["You said: a"]


def test_two_conversations_in_parallel_do_not_mix(studio: Studio, file: Path) -> None:
    counter = itertools.count()
    questions = [f"question {number % 5}" for number in range(15)]

    def both(player: CassettePlayer, upstream: Any) -> list[list[str]]:
        with ThreadPoolExecutor(2) as pool:
            work = [
                pool.submit(studio.say, player, *questions, upstream=upstream, name=name)
                for name in ("main", "helper")
            ]
            return [done.result() for done in work]

    player = new_player(file, "once")
    with studio.provided(Provider(lambda _: say(f"answer {next(counter)}"))) as live:
        recorded = both(player, live)
    assert len({*recorded[0], *recorded[1]}) == 30
    player.save("m")
    player = new_player(file, "none")
    assert both(player, None) == recorded
    player.verify()


def test_equal_requests_at_a_time_get_each_answer_once(studio: Studio, file: Path) -> None:
    counter = itertools.count()
    asked = [ask("the same")] * 12

    def at_once(lane: Lane) -> set[str]:
        with ThreadPoolExecutor(12) as pool:
            answers = pool.map(lambda body: post(lane, body).json(), asked)
            return {answer["choices"][0]["message"]["content"] for answer in answers}

    player = new_player(file, "once")
    with studio.provided(Provider(lambda _: say(f"answer {next(counter)}"))) as live:
        recorded = at_once(studio.lane(player, live))
    assert len(recorded) == 12
    player.save("m")
    player = new_player(file, "none")
    assert at_once(studio.lane(player)) == recorded
    player.verify()


def test_200_calls_at_a_time_none_lost_and_none_crossed(studio: Studio, file: Path) -> None:
    names = ["a", "b", "c", "d"]

    async def all_at_once(lanes: dict[str, Lane]) -> None:
        async def one(client: httpx.AsyncClient, name: str, number: int) -> None:
            lane = lanes[name]
            question, streamed = f"lane {name}, question {number}", number % 2 == 0
            answer = await client.post(
                lane.base_url("127.0.0.1") + "/chat/completions",
                json=ask(question, stream=streamed),
                headers={"Authorization": f"Bearer {lane.token}"},
            )
            assert answer.status_code == 200, answer.text
            if streamed:
                pieces = [content for _, content in events_of(answer.content)]
                assert pieces[-1] == ("text", "[DONE]")
                deltas = [piece["choices"][0]["delta"] for piece in pieces[:-1]]
                said = "".join(delta.get("content") or "" for delta in deltas)
            else:
                said = answer.json()["choices"][0]["message"]["content"]
            assert said == f"You said: {question}"

        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=30, limits=limits) as client, asyncio.TaskGroup() as g:
            for number in range(50):
                for name in names:
                    g.create_task(one(client, name, number))

    player = new_player(file, "once")
    with studio.provided(Provider(echo)) as live:
        asyncio.run(all_at_once({name: studio.lane(player, live, name) for name in names}))
    assert player.save("m") == ""
    player = new_player(file, "none")
    lanes = {name: studio.lane(player, None, name) for name in names}
    asyncio.run(all_at_once(lanes))
    player.verify()
    assert [len(lane.calls) for lane in lanes.values()] == [50] * 4
    assert all(call.origin == "replayed" for lane in lanes.values() for call in lane.calls)


def test_embeddings_models_and_token_counts_are_recorded_and_replayed(
    studio: Studio, file: Path
) -> None:
    def everything(lane: Lane) -> list[Any]:
        client = studio.client(lane)
        embedding = client.embeddings.create(model="text-embedding-3-small", input="a")
        return [
            [model.id for model in client.models.list()],
            embedding.data[0].embedding,
            post(lane, {**ask("a"), "model": "claude"}, "/messages/count_tokens").json(),
        ]

    player = new_player(file, "once")
    with studio.provided(Provider(echo)) as live:
        recorded = everything(studio.lane(player, live))
    assert recorded == [["gpt-4o"], [0.5, 0.25], {"input_tokens": 42}]
    player.save("m")
    player = new_player(file, "none")
    lane = studio.lane(player)
    assert everything(lane) == recorded
    for _ in range(3):  # which models there are may be asked as often as one likes
        assert [model.id for model in studio.client(lane).models.list()] == ["gpt-4o"]
    player.verify()


def test_models_that_nobody_asks_for_or_that_were_not_recorded_fail_nothing(
    studio: Studio, file: Path
) -> None:
    player = new_player(file, "once")
    with studio.provided(Provider(echo)) as live:
        lane = studio.lane(player, live)
        list(studio.client(lane).models.list())
        post(lane, ask("a"))
    player.save("m")
    player = new_player(file, "none")
    lane = studio.lane(player)
    post(lane, ask("a"))
    other = httpx.get(
        lane.base_url("127.0.0.1") + "/models/gpt-5",
        headers={"Authorization": f"Bearer {lane.token}"},
    )
    assert other.status_code == 400
    player.verify()


def test_other_embeddings_are_a_miss(studio: Studio, file: Path) -> None:
    player = new_player(file, "once")
    with studio.provided(Provider(echo)) as live:
        post(studio.lane(player, live), {"model": "m", "input": ["a cat"]}, "/embeddings")
    player.save("m")
    player = new_player(file, "none")
    answer = post(studio.lane(player), {"model": "m", "input": ["a dog"]}, "/embeddings")
    assert answer.status_code == 400
    assert "[-cat-]" in answer.text
