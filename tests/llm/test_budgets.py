"""Budgets: the call after the last that was allowed is refused."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from pytest_agent_sandbox.errors import BudgetExceeded
from pytest_agent_sandbox.llm.budgets import Budget, Limits, SharedLedger, Spent
from pytest_agent_sandbox.llm.exchange import Answer, Exchange, json_answer, raw_headers
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.pipeline import Policy
from pytest_agent_sandbox.llm.prices import Prices
from pytest_agent_sandbox.llm.replies import Usage, error, say
from pytest_agent_sandbox.llm.script import Script

from .sockets import open_sockets

ASKED: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
#: A dollar for each token.
PRICES = Prices({"gpt-4o": {"input": 1e6, "output": 1e6}})


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


class Live:
    """A provider whose every answer takes so many tokens; none says how many it did not count."""

    def __init__(self, tokens: int | None = 2) -> None:
        self.asked = 0
        self._tokens = tokens

    async def answer(self, exchange: Exchange) -> Answer:
        self.asked += 1
        exchange.call.origin = "live"
        usage = {"prompt_tokens": self._tokens, "completion_tokens": 0}
        content = {"choices": [], **({} if self._tokens is None else {"usage": usage})}
        if not exchange.content.get("stream"):
            return json_answer(content)
        body = f"data: {json.dumps(content)}\n\ndata: [DONE]\n\n".encode()
        return Answer(200, raw_headers({"content-type": "text/event-stream"}), _once(body))

    def check(self) -> None:
        """Nothing to raise."""

    verify = check


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


def post(lane: Lane, path: str = "/chat/completions", **other: Any) -> httpx.Response:
    return httpx.post(
        lane.base_url("127.0.0.1") + path,
        json=ASKED | other,
        headers={"Authorization": f"Bearer {lane.token}"},
        verify=False,
    )


def lane_with(gateway: Gateway, source: Any, *, prices: Prices = PRICES, **limits: Any) -> Lane:
    return gateway.open_lane(source, policy=Policy(Budget("test", Limits(**limits)), prices))


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [
        ({"calls": 3}, 3),
        ({"tokens": 6}, 3),
        ({"tokens": 5}, 3),  # the call that goes over is one that was allowed
        ({"tokens": 7}, 4),
        ({"cost": 6.0}, 3),
        ({"cost": 5.5}, 3),
        ({"calls": 9, "tokens": 9, "cost": 2.0}, 1),
    ],
    ids=str,
)
def test_the_call_after_the_last_is_refused(
    gateway: Gateway, limits: dict[str, Any], allowed: int
) -> None:
    live = Live()
    lane = lane_with(gateway, live, **limits)
    for _ in range(allowed):
        assert post(lane).status_code == 200
        lane.check()
    assert post(lane, stream=True).status_code == 400
    assert post(lane).status_code == 400
    assert live.asked == allowed, "what is refused reaches nobody"
    with pytest.raises(BudgetExceeded):
        lane.check()
    with pytest.raises(BudgetExceeded):
        lane.verify()
    refused = lane.calls[-1]
    assert (refused.origin, refused.status, refused.cost) == (None, 400, None)


@pytest.mark.parametrize(
    ("spent", "text"),
    [
        (Spent(0.0, 8171, 1), "1 call, 8,171 tokens"),
        (Spent(0.5, 10, 2), "2 calls, 10 tokens, $0.5000"),
        (Spent(0.0, 10, 2, unpriced="m"), "2 calls, 10 tokens, calls of unknown cost"),
        (Spent(0.5, 0, 2, unpriced="m"), "2 calls, 0 tokens, $0.5000 and calls of unknown cost"),
    ],
)
def test_what_was_spent_in_words(spent: Spent, text: str) -> None:
    assert str(spent) == text


def test_the_refusal_tells_which_budget_and_what_was_spent(
    gateway: Gateway, connect: Callable[..., openai.OpenAI]
) -> None:
    lane = lane_with(gateway, Live(2000), cost=1500)
    post(lane)
    with pytest.raises(openai.BadRequestError) as refusal:
        connect(lane, max_retries=3).chat.completions.create(**ASKED)
    assert len(lane.calls) == 2, "no client tries again"
    with pytest.raises(BudgetExceeded) as failure:
        lane.check()
    for message in (str(failure.value), str(refusal.value), lane.calls[1].problem):
        assert "test's budget llm_max_cost = $1500 is used up" in message
        assert "1 call, 2,000 tokens, $2000.0000" in message


def test_streams_are_booked_too(gateway: Gateway) -> None:
    lane = lane_with(gateway, Live(), tokens=2)
    assert post(lane, stream=True).status_code == 200
    assert post(lane).status_code == 400


def test_no_limit_is_none(gateway: Gateway) -> None:
    budget = Budget("test", Limits())
    lane = gateway.open_lane(Live(), policy=Policy(budget, PRICES))
    assert {post(lane).status_code for _ in range(3)} == {200}
    assert not Limits().any
    assert Limits(calls=0).any


@pytest.mark.parametrize("limits", [{"calls": 0}, {"tokens": 0}, {"cost": 0.0}], ids=str)
def test_a_limit_of_zero_allows_nothing(gateway: Gateway, limits: Any) -> None:
    assert post(lane_with(gateway, Live(), **limits)).status_code == 400


def test_what_is_free_is_neither_counted_nor_refused(gateway: Gateway) -> None:
    lane = lane_with(gateway, Live(), calls=1)
    assert post(lane).status_code == 200
    for path in ("/messages/count_tokens", "/responses/input_tokens"):
        assert post(lane, path).status_code == 200
    models = httpx.get(
        lane.base_url("127.0.0.1") + "/models", headers={"x-api-key": lane.token}, verify=False
    )
    assert models.status_code == 200
    lane.check()
    assert post(lane, "/embeddings").status_code == 400


def test_scripted_calls_count_and_cost_nothing(gateway: Gateway) -> None:
    script = Script([say("a", usage=Usage(5, 5)), error(500), say("b"), say("c")])
    lane = lane_with(gateway, script, cost=1.0, calls=3)
    assert [post(lane).status_code for _ in range(4)] == [200, 500, 200, 400]
    assert lane.calls[0].cost == 0


def test_an_error_books_no_tokens(gateway: Gateway) -> None:
    lane = lane_with(gateway, Script([error(429), say("b")]), tokens=10**6, cost=1.0)
    assert [post(lane).status_code for _ in range(2)] == [429, 200]
    lane.check()


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_an_unknown_price_is_said_as_unknown(gateway: Gateway, streamed: bool) -> None:
    lane = lane_with(gateway, Live(), prices=Prices(), cost=1.0)
    assert post(lane, model="nobodys-model", stream=streamed).status_code == 200
    assert lane.calls[0].cost is None
    assert post(lane).status_code == 400
    with pytest.raises(BudgetExceeded, match="cost is not known") as failure:
        lane.check()
    assert "'nobodys-model'" in str(failure.value)
    assert "llm_prices" in str(failure.value)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_unknown_tokens_are_said_as_unknown(gateway: Gateway, streamed: bool) -> None:
    lane = lane_with(gateway, Live(None), tokens=100)
    assert post(lane, stream=streamed).status_code == 200
    assert post(lane).status_code == 400
    with pytest.raises(BudgetExceeded, match="did not say how many tokens a call of 'gpt-4o'"):
        lane.check()


def test_the_advice_for_unknown_tokens_is_not_to_add_a_price(gateway: Gateway) -> None:
    lane = lane_with(gateway, Live(None), cost=100.0)
    post(lane, stream=True)
    post(lane)
    with pytest.raises(BudgetExceeded) as failure:
        lane.check()
    assert "Add its price" not in str(failure.value)
    assert "usage" in str(failure.value)


@pytest.mark.parametrize("limits", [{"calls": 5}, {"tokens": 100}], ids=str)
def test_what_is_not_limited_may_be_unknown(gateway: Gateway, limits: Any) -> None:
    lane = lane_with(gateway, Live(), prices=Prices(), **limits)
    assert [post(lane, model="nobodys-model").status_code for _ in range(3)] == [200] * 3
    lane.check()


def test_unknown_costs_are_told_with_what_is_spent() -> None:
    assert str(Spent(0.5, 10, 2)) == "2 calls, 10 tokens, $0.5000"
    assert str(Spent(0.5, 10, 2, unpriced="m")).endswith("$0.5000 and calls of unknown cost")


class Lingering(Live):
    """A provider that holds the line after the last event of its streams."""

    def __init__(self) -> None:
        super().__init__()
        self.release = asyncio.Event()

    async def answer(self, exchange: Exchange) -> Answer:
        answer = await super().answer(exchange)
        return Answer(answer.status, answer.headers, self._held(answer))

    async def _held(self, answer: Answer) -> AsyncGenerator[bytes, None]:
        async for chunk in answer.chunks:
            yield chunk
        await self.release.wait()


def test_a_stream_is_booked_with_its_last_event(gateway: Gateway) -> None:
    lane = lane_with(gateway, Lingering(), tokens=2)
    url, key = lane.base_url("127.0.0.1") + "/chat/completions", {"x-api-key": lane.token}
    asked = {**ASKED, "stream": True}
    with (
        httpx.Client(verify=False, headers=key) as client,
        client.stream("POST", url, json=asked) as first,
    ):
        chunks = first.iter_raw()
        assert any(b"[DONE]" in chunk for chunk in chunks)
        with client.stream("POST", url, json=asked) as second:
            assert second.status_code == 400


class Hasty(Live):
    """A provider that does not end the last event of its streams with an empty line."""

    async def answer(self, exchange: Exchange) -> Answer:
        exchange.call.origin = "live"
        event = {"type": "message_delta", "usage": {"input_tokens": 5, "output_tokens": 5}}
        body = f"data: {json.dumps(event)}".encode()
        return Answer(200, raw_headers({"content-type": "text/event-stream"}), _once(body))


def test_an_event_without_its_end_is_booked_too(gateway: Gateway) -> None:
    lane = lane_with(gateway, Hasty(), tokens=10)
    assert post(lane, "/messages", stream=True).status_code == 200
    assert lane.calls[0].usage == Usage(5, 5)


def test_a_budget_may_be_shared_by_lanes(gateway: Gateway) -> None:
    policy = Policy(Budget("test", Limits(calls=3)), PRICES)
    lanes = [gateway.open_lane(Live(), name, policy) for name in ("1", "2")]
    assert [post(lanes[number % 2]).status_code for number in range(4)] == [200, 200, 200, 400]
    for lane in lanes:
        with pytest.raises(BudgetExceeded):
            lane.check()


# The run's, in a file


def spend(file: Path, **limits: Any) -> tuple[Budget, str]:
    """One call of another process."""
    budget = Budget("run", Limits(**limits), SharedLedger(file))
    return budget, budget.take_call()


def test_processes_share_a_budget_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / "ledger.json"
    assert [spend(file, calls=2)[1] for _ in range(2)] == ["", ""]
    budget, problem = spend(file, calls=2)
    assert "run's budget llm_max_calls = 2 is used up" in problem
    with pytest.raises(BudgetExceeded, match="llm_max_calls = 2"):
        budget.check()
    assert SharedLedger(file).read() == Spent(calls=2)


def test_nothing_is_read_or_written_without_a_limit(tmp_path: Path) -> None:
    file = tmp_path / "ledger.json"
    assert spend(file)[1] == ""
    assert list(tmp_path.iterdir()) == []


PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
from pytest_agent_sandbox.llm.budgets import SharedLedger

ledger = SharedLedger(Path(sys.argv[1]))
for _ in range(100):
    ledger.change(lambda spent: replace(spent, calls=spent.calls + 1, cost=spent.cost + 0.5))
"""


def test_no_call_of_any_process_or_thread_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "ledger.json"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(file)]
        )  # one after the other is no test
        for _ in range(2)
    ]
    ledger = SharedLedger(file)

    def take() -> None:
        budget = Budget("run", Limits(calls=10**6), ledger)
        for _ in range(50):
            budget.take_call()

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(30) for process in processes] == [0, 0]
    assert ledger.read() == Spent(cost=100.0, calls=300)


def test_the_last_call_is_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sees what the one before has taken, though between looking and taking others come."""
    file = tmp_path / "ledger.json"
    problem_of = Budget._problem

    def look_slowly(budget: Budget, spent: Spent) -> str:
        problem = problem_of(budget, spent)
        time.sleep(0.05)  # time enough for all others to look, if they could
        return problem

    monkeypatch.setattr(Budget, "_problem", look_slowly)
    with ThreadPoolExecutor(4) as pool:
        refusals = list(pool.map(lambda _: spend(file, calls=2)[1], range(4)))
    assert refusals.count("") == 2


def test_a_process_that_is_killed_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ledger.json"
    spend(file, calls=9)

    def killed(path: Path, text: str, **_: Any) -> None:
        path.write_bytes(text[:5].encode())
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        spend(file, calls=9)
    monkeypatch.undo()
    assert SharedLedger(file).read() == Spent(calls=1)
