"""The gateway: what it adds to an LLM call, how long a replayed call takes, and 200 at once.

As in a run, there are three processes: the client, as an agent in its container would be; the
gateway, in this one; and an upstream, which answers in 20 pieces with a pause before each. Direct
calls to the upstream take turns with those through the gateway, live and recorded; then the same
calls are replayed. Each answer has to be the one to its own request and its own conversation.
At last, hostile conversations send large bodies, and others are asked meanwhile.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Barrier
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
from hostile_calls import measure_hostile
from measuring import Report, read_arguments
from pydantic import SecretStr

from pytest_agent_sandbox import say
from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser
from pytest_agent_sandbox.llm.cassettes.player import CassettePlayer, RecordMode
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.live import LiveSource
from pytest_agent_sandbox.llm.replies import LLMRequest, Reply

sys.path.append(str(Path(__file__).parent.parent))
from tests.support.provider import Provider, serving

#: Seconds before each piece of a streamed answer.
PAUSE = 0.002
CONVERSATIONS = 10
CALLS_EACH = 20
AT_ONCE = f"{CONVERSATIONS * CALLS_EACH} at once"

_SENTENCE = "Look at the files before you change them, and run the tests before you say it works. "
_PARAMETERS = {
    "type": "object",
    "properties": {
        name: {"type": "string", "description": _SENTENCE}
        for name in ("command", "path", "text", "reason")
    },
    "required": ["command"],
}
_SPAWN = multiprocessing.get_context("spawn")


class Door(NamedTuple):
    """Where calls go: a lane of the gateway's, or the upstream itself."""

    base_url: str
    token: str

    @classmethod
    def of(cls, lane: Lane) -> Door:
        return cls(lane.base_url("127.0.0.1"), lane.token)

    @property
    def url(self) -> str:
        return f"{self.base_url}/chat/completions"

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}", "content-type": "application/json"}


# What is asked, and what is to be answered.


def question(conversation: str, number: int, *, stream: bool) -> bytes:
    """A request as agents make them: 35 KB, nearly all of them the same in each.

    Recordings are found without the conversation's name, so those of all conversations look the
    same, and only the answer tells whose it is.
    """
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": ("Today is 2026-11-24. " + _SENTENCE * 300)[:20_000]}
    ]
    for step in range(3):
        function = {"name": "tool_1", "arguments": json.dumps({"command": f"ls step-{step}"})}
        call = {"id": f"call_{step}", "type": "function", "function": function}
        messages += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": "README.md\n" * 60},
        ]
    messages.append({"role": "user", "content": f"Question {number}."})
    tools = [
        {"name": f"tool_{tool}", "description": _SENTENCE * 9, "parameters": _PARAMETERS}
        for tool in range(10)
    ]
    content = {
        "model": "gpt-4o-mini",
        "messages": messages,
        "tools": [{"type": "function", "function": tool} for tool in tools],
        "prompt_cache_key": conversation,
        "stream": stream,
        **({"stream_options": {"include_usage": True}} if stream else {}),
    }
    return json.dumps(content).encode()


def answer_to(conversation: str, asked: str) -> str:
    return f"{conversation} asked: {asked} " + "So this is what the model says. " * 15


def reply(request: LLMRequest) -> Reply:
    return say(answer_to(request.body["prompt_cache_key"], request.messages[-1]["content"]))


def check_answer(text: str, conversation: str, number: int) -> None:
    """Raises AssertionError where this is not the answer to that question, whole."""
    said = ""
    if text.startswith("data: "):
        *events, end = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
        assert end == "[DONE]", text
        for event in events:
            for choice in json.loads(event)["choices"]:
                said += choice["delta"].get("content", "")
    else:
        said = json.loads(text)["choices"][0]["message"]["content"]
    assert said == answer_to(conversation, f"Question {number}."), (conversation, number, said)


# The upstream's process.


def serve_upstream(pipe: Connection) -> None:
    with serving(Provider(reply, PAUSE)) as lane:
        pipe.send(Door.of(lane))
        with suppress(EOFError):
            pipe.recv()


@contextmanager
def upstream_process() -> Iterator[Door]:
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=serve_upstream, args=(theirs,))
    process.start()
    theirs.close()
    try:
        yield ours.recv()
    finally:
        ours.close()
        process.join()


# The client's process.


def ask_in_turn(doors: Mapping[str, Door], rounds: int) -> list[tuple[str, float]]:
    """Asks at each door in turn, over a connection of its own that is kept; names and seconds."""
    samples = []
    with httpx.Client(trust_env=False, timeout=60) as client:
        for number in range(rounds + 1):
            for name in list(doors)[:: 1 if number % 2 else -1]:
                first = _seconds_to_first_chunk(client, doors[name], number)
                whole = _seconds_of_whole_call(client, doors[name], number)
                if number > 0:  # the first round opens the connections
                    samples += [(f"first chunk, {name}", first), (f"whole call, {name}", whole)]
    return samples


def _seconds_to_first_chunk(client: httpx.Client, door: Door, number: int) -> float:
    body = question("1", number, stream=True)
    began = time.perf_counter()
    with client.stream("POST", door.url, content=body, headers=door.headers) as answer:
        chunks = answer.iter_text()
        text = next(chunks)
        seconds = time.perf_counter() - began
        text += "".join(chunks)
    check_answer(text, "1", number)
    return seconds


def _seconds_of_whole_call(client: httpx.Client, door: Door, number: int) -> float:
    body = question("1", number, stream=False)
    began = time.perf_counter()
    answer = client.post(door.url, content=body, headers=door.headers)
    seconds = time.perf_counter() - began
    check_answer(answer.text, "1", number)
    return seconds


def ask_at_once(doors: Mapping[str, Door]) -> float:
    """Asks all questions of all conversations at the same moment; seconds until all are answered.

    Half of the answers are streams. Each call has a connection and a thread of its own, and a
    client that does little: httpx would take three times as long for them as the gateway.
    """
    jobs = [(name, number) for name in doors for number in range(CALLS_EACH)]
    start = Barrier(len(jobs) + 1)

    def ask(conversation: str, number: int) -> tuple[int, str, float]:
        door = doors[conversation]
        body = question(conversation, number, stream=number % 2 == 1)
        connection = HTTPConnection(urlsplit(door.url).netloc, timeout=60)
        try:
            connection.connect()
            start.wait(60)
            connection.request("POST", urlsplit(door.url).path, body, door.headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            return answer.status, text, time.perf_counter()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(jobs)) as threads:
        asked = [threads.submit(ask, *job) for job in jobs]
        start.wait(60)
        began = time.perf_counter()
        answers = [future.result() for future in asked]
    for job, (status, text, _) in zip(jobs, answers, strict=True):
        assert status == 200, text
        check_answer(text, *job)
    return max(ended for _, _, ended in answers) - began


# This process, the gateway's.


class Bench:
    """What the measurements share."""

    def __init__(
        self, report: Report, gateway: Gateway, upstream: Door, client: Executor, folder: Path
    ) -> None:
        self._report = report
        self._gateway = gateway
        self._upstream = upstream
        self._client = client
        self._folder = folder

    def measure_in_turn(self, rounds: int) -> None:
        player = self._player("in_turn", "all")
        with (
            self._gateway.open_lane(self._live()) as live,
            self._gateway.open_lane(player.source("1", self._live())) as recorded,
        ):
            doors = {
                "direct": self._upstream,
                "live": Door.of(live),
                "recorded": Door.of(recorded),
            }
            self._ask_in_turn(doors, rounds)
        _check_calls([live], "live", 2 * (rounds + 1))
        _check_calls([recorded], "recorded", 2 * (rounds + 1))
        assert not player.save("openai/gpt-4o-mini")

        player = self._player("in_turn", "none")
        with self._gateway.open_lane(player.source("1", None)) as replayed:
            self._ask_in_turn({"replayed": Door.of(replayed)}, rounds)
        _check_calls([replayed], "replayed", 2 * (rounds + 1))
        player.verify()

        for kind in ("first chunk", "whole call"):
            for name in ("live", "recorded"):
                self._report.difference(
                    f"{kind}, {name} - direct (ms)", f"{kind}, {name}", f"{kind}, direct"
                )

    def measure_at_once(self, rounds: int) -> None:
        player = self._player("at_once", "all")
        self._report.add(f"{AT_ONCE}, recorded", self._ask_at_once(player, "recorded"))
        assert not player.save("openai/gpt-4o-mini")
        for _ in range(rounds):
            player = self._player("at_once", "none")
            self._report.add(f"{AT_ONCE}, replayed", self._ask_at_once(player, "replayed"))
            player.verify()

    def _ask_in_turn(self, doors: Mapping[str, Door], rounds: int) -> None:
        for name, seconds in self._client.submit(ask_in_turn, doors, rounds).result():
            self._report.add(name, seconds)

    def _ask_at_once(self, player: CassettePlayer, origin: str) -> float:
        upstream = self._live() if player.records else None
        names = [f"conversation-{number}" for number in range(CONVERSATIONS)]
        lanes = [
            self._gateway.open_lane(player.source(name, upstream), name=name) for name in names
        ]
        doors = {lane.name: Door.of(lane) for lane in lanes}
        seconds = self._client.submit(ask_at_once, doors).result()
        for lane in lanes:
            lane.close()
        _check_calls(lanes, origin, CALLS_EACH)
        return seconds

    def _live(self) -> LiveSource:
        return LiveSource(self._upstream.base_url, SecretStr(self._upstream.token))

    def _player(self, name: str, mode: RecordMode) -> CassettePlayer:
        file = self._folder / f"{name}.json"
        return CassettePlayer(
            file, test="benchmark", mode=mode, match="strict", normalise=Normaliser()
        )


def _check_calls(lanes: Sequence[Lane], origin: str, number: int) -> None:
    for lane in lanes:
        assert [(call.origin, call.status, call.problem) for call in lane.calls] == [
            (origin, 200, "")
        ] * number


def main() -> None:
    arguments = read_arguments(__doc__, rounds=100)
    report = Report(
        "Gateway",
        request=f"{len(question('1', 1, stream=True)) / 1000:.0f} KB",
        httpx=version("httpx"),
        uvicorn=version("uvicorn"),
        rounds=str(arguments.rounds),
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        upstream_process() as upstream,
        Gateway() as gateway,
        ProcessPoolExecutor(1, mp_context=_SPAWN) as client,
    ):
        bench = Bench(report, gateway, upstream, client, Path(folder))
        bench.measure_in_turn(arguments.rounds)
        bench.measure_at_once(max(1, arguments.rounds // 10))
        measure_hostile(
            report,
            gateway,
            client,
            rounds=max(1, arguments.rounds // 20),
            is_quick=arguments.quick,
        )
    report.finish(arguments.json)


if __name__ == "__main__":
    main()
