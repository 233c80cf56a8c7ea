"""What tests of tapes ask with, what answers them, and what they look at."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
from pydantic import SecretStr

from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser
from pytest_agent_sandbox.llm.cassettes.player import CassettePlayer
from pytest_agent_sandbox.llm.exchange import Answer, Exchange, error_answer, raw_headers
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.live import LiveSource
from pytest_agent_sandbox.llm.pipeline import Policy
from pytest_agent_sandbox.llm.replies import LLMRequest, Reply, Usage, say
from tests.support.provider import Provider

TEST = "tests/test_x.py::test_y"
SECRET = 'sk-very/secret"0123456789-and-longer-than-one-piece-ü'
SSE = "text/event-stream"


def new_player(
    file: Path, mode: Any, *, match: Any = "strict", **normalising: Any
) -> CassettePlayer:
    return CassettePlayer(
        file, test=TEST, mode=mode, match=match, normalise=Normaliser(**normalising)
    )


def ask(*texts: str, **other: Any) -> Any:
    """A request; of several texts, every second one is the model's."""
    roles = itertools.cycle(("user", "assistant"))
    turns = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    return {"model": "gpt-4o", "messages": turns, **other}


def tool_turn(printed: str, question: str = "Look.", number: int = 1) -> list[dict[str, Any]]:
    function = {"name": "sh", "arguments": '{"c": "ls"}'}
    call = {"id": f"call_{number}", "type": "function", "function": function}
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"call_{number}", "content": printed},
    ]


def echo(request: LLMRequest) -> Reply:
    return say(f"You said: {request.last_message}", usage=Usage(1000, 100))


def text_of(completion: Any) -> str:
    return str(completion.choices[0].message.content)


class Studio:
    """Asks by a lane of a player, as an agent does."""

    def __init__(
        self, gateway: Gateway, providers: Gateway, connect: Callable[..., openai.OpenAI]
    ) -> None:
        self._gateway = gateway
        self._providers = providers
        self._connect = connect

    @contextmanager
    def provided(self, provider: Provider, **settings: Any) -> Iterator[LiveSource]:
        """A provider that is there for a while."""
        with self._providers.open_lane(provider) as lane:
            key = SecretStr(lane.token)
            yield LiveSource(lane.base_url("127.0.0.1"), key, **settings)

    def lane(
        self,
        player: CassettePlayer,
        upstream: Any = None,
        name: str = "1",
        policy: Policy | None = None,
    ) -> Lane:
        policy = policy or Policy(allow_paths=(ANYTHING.strip("/"),))
        return self._gateway.open_lane(player.source(name, upstream), name, policy)

    def client(self, lane: Lane, **settings: Any) -> openai.OpenAI:
        # Reading this machine's certificates takes 50 ms, and nothing here is encrypted.
        return self._connect(lane, http_client=httpx.Client(verify=False), **settings)

    def say(
        self, player: CassettePlayer, *texts: str, upstream: Any = None, name: str = "1"
    ) -> list[str]:
        """The answers to single messages."""
        client = self.client(self.lane(player, upstream, name))
        return [text_of(client.chat.completions.create(**ask(text))) for text in texts]

    def record(self, file: Path, *texts: str, upstream: Any = None, **normalising: Any) -> None:
        """Make a cassette of these messages."""
        player = new_player(file, "all", **normalising)
        if upstream is not None:
            self.say(player, *texts, upstream=upstream)
        else:
            with self.provided(Provider(echo)) as live:
                self.say(player, *texts, upstream=live)
        assert player.save("openai/gpt-4o") == ""


class Wire:
    """An upstream that puts these bytes on the wire; an exception among them breaks it off."""

    def __init__(
        self,
        *chunks: bytes | Exception | asyncio.Event,
        media_type: str = "application/json",
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> None:
        self._chunks = chunks
        self._head = (status, raw_headers({"content-type": media_type, **(headers or {})}))

    async def answer(self, exchange: Exchange) -> Answer:
        exchange.call.origin = "live"
        return Answer(*self._head, self._body())

    async def _body(self) -> AsyncGenerator[bytes, None]:
        for chunk in self._chunks:
            if isinstance(chunk, Exception):
                raise chunk
            if isinstance(chunk, asyncio.Event):
                await chunk.wait()
            else:
                yield chunk

    def check(self) -> None:
        """Nothing to raise."""

    def verify(self) -> None:
        """Nothing to raise."""


def post(lane: Lane, body: Any = None, path: str = "/chat/completions") -> httpx.Response:
    return httpx.post(
        lane.base_url("127.0.0.1") + path,
        json=ask("Hello.") if body is None else body,
        headers={"Authorization": f"Bearer {lane.token}"},
        timeout=20,
        verify=False,
    )


def events_of(raw: bytes) -> list[Any]:
    """The events of a stream as a client sees them: by the letter of the specification."""
    events = []
    for block in raw.decode().replace("\r\n", "\n").split("\n\n"):
        data = [
            line.removeprefix("data:").removeprefix(" ")
            for line in block.split("\n")
            if line.startswith("data:")
        ]
        name = [line for line in block.split("\n") if line.startswith("event:")]
        if data:
            try:
                content = json.loads("\n".join(data))
            except ValueError:
                content = ("text", *data)
            events.append((name, content))
    return events


def event(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    content = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
    }
    return b"data: " + json.dumps(content).encode() + b"\n\n"


#: A path at which answers may have any form.
ANYTHING = "/anything"


class Flaky:
    """An upstream whose first answers are errors."""

    def __init__(self, upstream: Any, *statuses: int) -> None:
        self._upstream = upstream
        self._statuses = list(statuses)

    async def answer(self, exchange: Exchange) -> Answer:
        exchange.call.origin = "live"
        if self._statuses:
            headers = {"x-request-id": "r-1", "retry-after": "0.01"}
            return error_answer(exchange.dialect, self._statuses.pop(0), "No.", headers)
        answer: Answer = await self._upstream.answer(exchange)
        return answer

    def check(self) -> None:
        """Nothing to raise."""

    verify = check
