"""A provider of this machine's own that behaves like those out there: nothing is twice the same.

Its ids are random, its answers carry the time of day, and it streams them in twenty pieces. What it
says depends on the request alone, so any number of conversations may talk to it at once.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager

from pytest_agent_sandbox.llm.dialects.dialect import usage_of, wants_stream
from pytest_agent_sandbox.llm.exchange import (
    Answer,
    Exchange,
    json_answer,
    raw_headers,
)
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.replies import LLMRequest, Reply, ScriptedToolCall, say
from pytest_agent_sandbox.llm.sse import MEDIA_TYPE

PIECES = 20


class Provider:
    """A source of answers: the reply to a request's n-th turn is the n-th of the replies.

    Args:
        replies: What it says, or a function of the request that tells.
        pause: Seconds between the pieces of a stream.
    """

    def __init__(
        self,
        replies: Sequence[Reply | ScriptedToolCall]
        | Callable[[LLMRequest], Reply | ScriptedToolCall],
        pause: float = 0.0,
    ) -> None:
        self._replies = replies
        self._pause = pause
        self.requests: list[LLMRequest] = []

    async def answer(self, exchange: Exchange) -> Answer:
        if exchange.method == "GET":
            return json_answer({"object": "list", "data": [{"id": "gpt-4o", "object": "model"}]})
        if exchange.path == "/embeddings":
            usage = {"prompt_tokens": 3, "total_tokens": 3}
            data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
            return json_answer(
                {"object": "list", "model": "text-embedding-3-small", "data": data, "usage": usage}
            )
        if exchange.path.endswith("/count_tokens"):
            return json_answer({"input_tokens": 42})
        dialect = exchange.dialect
        request = dialect.parse(exchange.content, len(self.requests) + 1)
        self.requests.append(request)
        reply = self._reply(request)
        label = uuid.uuid4().hex[:24]
        exchange.call.usage = usage_of(request, reply)
        headers = {"x-request-id": uuid.uuid4().hex, "x-ratelimit-remaining-requests": "99"}
        if wants_stream(request.body):
            body = b"".join(dialect.stream(request, reply, label))
            pairs = raw_headers({"content-type": f"{MEDIA_TYPE}; charset=utf-8", **headers})
            return Answer(200, pairs, self._stream(body))
        return json_answer(dialect.completion(request, reply, label), headers=headers)

    def check(self) -> None:
        """Nothing to raise."""

    def verify(self) -> None:
        """Nothing to raise."""

    def _reply(self, request: LLMRequest) -> Reply:
        replies = self._replies
        reply = replies(request) if callable(replies) else replies[turns(request)]
        return reply if isinstance(reply, Reply) else say("", reply)

    async def _stream(self, body: bytes) -> AsyncGenerator[bytes, None]:
        size = max(1, -(-len(body) // PIECES))
        for start in range(0, len(body), size):
            await asyncio.sleep(self._pause)
            yield body[start : start + size]


def turns(request: LLMRequest) -> int:
    """How often the model has answered; one answer may be several items of a request."""
    said = [
        message.get("role") == "assistant" or message.get("type") in ("function_call", "reasoning")
        for message in request.messages
    ]
    return sum(now and not before for before, now in zip([False, *said], said, strict=False))


@contextmanager
def serving(provider: Provider) -> Iterator[Lane]:
    """The provider as a server: the lane's token is its API key."""
    with Gateway() as gateway:
        yield gateway.open_lane(provider)
