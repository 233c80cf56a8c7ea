"""Work on large bodies holds up neither other lanes nor, in the end, anything else."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pytest_agent_sandbox import say
from pytest_agent_sandbox.llm.cassettes.canonical import canonical
from pytest_agent_sandbox.llm.cassettes.cassette import Interaction, Interactions, RecordedAnswer
from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser
from pytest_agent_sandbox.llm.cassettes.source import CassetteSource, PlayerState
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.heavy import HeavyWork, new_threads
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.script import Script

MEGABYTE = 1 << 20


def asked(text: str) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()


HOSTILE: dict[str, Callable[[], bytes]] = {
    "digits": lambda: asked("1 " * (MEGABYTE // 2 - 10)),
    "hexadecimal": lambda: asked("a" * (MEGABYTE - 10)),
    "dates": lambda: asked("May 1 " * (MEGABYTE // 6)),
    "words": lambda: asked("lorem ipsum dolor " * (30 * MEGABYTE // 18)),
    "empty lists": lambda: b'{"model":"m","messages":[' + b"[]," * (10 * MEGABYTE) + b"1]}",
    "at the closed door": lambda: b'{"model":"m","messages":[' + b"[]," * (10 * MEGABYTE) + b"1]}",
    "as many values as may be": lambda: (
        b'{"model":"m","messages":[' + b'{"":0},' * 80_000 + b'{"":0}]}'
    ),
    "the same few words": lambda: asked(" ".join(f"w{i * i % 119}" for i in range(9_990))),
}


def replaying() -> CassetteSource:
    normalise = Normaliser()
    old = json.loads(asked(" ".join(f"w{i * i % 113}" for i in range(9_990))))
    request = canonical("openai-chat", "POST", "/chat/completions", old, normalise)
    player = PlayerState(
        where="x.json",
        is_there=True,
        conversations=1,
        records=False,
        match="strict",
        normalise=normalise,
        how_to_record="pytest",
    )
    recorded = Interactions([Interaction(request, RecordedAnswer(200, {}, None, 1, {}))])
    return CassetteSource(player, "1", recorded.stored, None)


def post(lane: Lane, body: bytes, path: str = "/chat/completions") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", lane._port(), timeout=120)
    try:
        connection.request("POST", f"/v1{path}", body, {"x-api-key": lane.token})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


@pytest.mark.parametrize("name", HOSTILE)
def test_other_lanes_do_not_wait(gateway: Gateway, name: str) -> None:
    hostile, good = gateway.open_lane(replaying()), gateway.open_lane(Script([say("Hi.")] * 5000))
    body, path = HOSTILE[name](), "/files" if "door" in name else "/chat/completions"
    statuses: list[int] = []
    asking = threading.Thread(target=lambda: statuses.append(post(hostile, body, path)))
    asking.start()
    longest = 0.0
    while asking.is_alive():
        began = time.monotonic()
        assert post(good, asked("Hello?")) == 200
        longest = max(longest, time.monotonic() - began)
    asking.join()
    assert statuses in ([400], [404])
    # A tenth of it on an idle machine; it was the whole time of the hostile request, seconds.
    assert longest < 1


def run(test: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


def test_a_lane_does_one_piece_after_the_other_and_all_lanes_so_many_at_once() -> None:
    async def test() -> None:
        threads, lock = new_threads(), threading.Lock()
        under_way: list[int] = []
        most: list[int] = []

        def work(lane: int) -> int:
            with lock:
                assert lane not in under_way
                under_way.append(lane)
                most.append(len(under_way))
            time.sleep(0.02)
            with lock:
                under_way.remove(lane)
            return lane

        lanes = [HeavyWork(threads) for _ in range(4)]
        jobs = [
            heavy.do(lambda lane=number: work(lane), is_heavy=True)  # type: ignore[misc]
            for number, heavy in enumerate(lanes)
            for _ in range(3)
        ]
        assert sorted(await asyncio.gather(*jobs)) == sorted([*range(4)] * 3)
        assert max(most) == 2

    run(test)


def test_work_that_nobody_waits_for_any_more_still_has_the_lanes_turn() -> None:
    """Or else a client that sends and leaves, again and again, would have all threads."""

    async def test() -> None:
        heavy, goes_on, order = HeavyWork(), threading.Event(), []

        def first() -> None:
            goes_on.wait(10)
            order.append("first")

        left = asyncio.ensure_future(heavy.do(first, is_heavy=True))
        await asyncio.sleep(0.05)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        second = asyncio.ensure_future(heavy.do(lambda: order.append("second"), is_heavy=False))
        await asyncio.sleep(0.05)
        assert order == []
        goes_on.set()
        await second
        assert order == ["first", "second"]

    run(test)


@pytest.mark.parametrize("is_heavy", [True, False])
def test_what_work_raises_is_raised_and_the_next_piece_goes_on(is_heavy: bool) -> None:
    async def test() -> None:
        heavy = HeavyWork()
        with pytest.raises(ZeroDivisionError):
            await heavy.do(lambda: 1 // 0, is_heavy=is_heavy)
        assert await heavy.do(lambda: 1, is_heavy=is_heavy) == 1

    run(test)
