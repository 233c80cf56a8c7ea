"""Faults on purpose, to see what an agent does when its LLM fails."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.llm.exchange import (
    Answer,
    BrokenAnswerError,
    Exchange,
    error_answer,
)
from pytest_agent_sandbox.llm.sse import EventSplitter, encode_event, json_object

#: A function that gets the answer a call would have without any fault.
Ask = Callable[[], Awaitable[Answer]]


class Fault(Protocol):
    """Something that goes wrong with one call."""

    async def answer(self, exchange: Exchange, ask: Ask) -> Answer:
        """Return what the agent gets instead of the source's answer."""
        ...


class Faults:
    """The faults that are still to happen, each to one call, in order. Any thread may use it."""

    def __init__(self) -> None:
        self._queue: deque[Fault] = deque()
        self._lock = threading.Lock()

    def add(self, fault: Fault, times: int = 1) -> None:
        """Let a fault happen to so many calls, after those added before.

        Raises:
            SettingsError: The number of times is below 1.
        """
        if times < 1:
            raise SettingsError(f"A fault cannot happen {times} times: give 1 or more.")
        with self._lock:
            self._queue.extend([fault] * times)

    def take(self) -> Fault | None:
        """Take the fault for the call that has just come; None if it has none."""
        with self._lock:
            return self._queue.popleft() if self._queue else None

    def put_back(self, fault: Fault) -> None:
        """Let the fault happen to the next call after all."""
        with self._lock:
            self._queue.appendleft(fault)

    @property
    def left(self) -> list[Fault]:
        """The faults that have not happened."""
        with self._lock:
            return list(self._queue)


@dataclass(frozen=True)
class ProviderFailure:
    """An error of the provider; the source is not asked.

    Attributes:
        retry_after: Seconds that the client is told to wait before it tries again.
    """

    status: int
    message: str
    retry_after: float | None = None

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:  # noqa: PLR2004 - HTTP's own numbers
            raise SettingsError(
                f"fail_next({self.status}): give the status of an error, 400 to 599."
            )
        _check_seconds(self.retry_after or 0.0, "retry_after")

    async def answer(self, exchange: Exchange, ask: Ask) -> Answer:  # noqa: ARG002
        """Return the error, in the provider's form."""
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        exchange.call.origin, exchange.call.problem = "fault", self.message
        return error_answer(exchange.dialect, self.status, self.message, headers)


@dataclass(frozen=True)
class Delay:
    """A wait before the answer.

    Attributes:
        seconds: The wait before the first byte.
    """

    seconds: float

    def __post_init__(self) -> None:
        _check_seconds(self.seconds, "seconds")

    async def answer(self, exchange: Exchange, ask: Ask) -> Answer:  # noqa: ARG002
        """Return the source's answer, later."""
        await asyncio.sleep(self.seconds)
        return await ask()


@dataclass(frozen=True)
class Cut:
    """A connection that breaks off in the middle of the answer.

    Attributes:
        after: How many events of a stream get through; of a whole answer, half of it does.
    """

    after: int

    def __post_init__(self) -> None:
        if self.after < 0:
            raise SettingsError(
                f"A stream cannot be cut after {self.after} events: give 0 or more."
            )

    async def answer(self, exchange: Exchange, ask: Ask) -> Answer:  # noqa: ARG002
        """Return the source's answer up to a point. It is used up, and recorded, all the same."""
        answer = await ask()
        return Answer(answer.status, answer.headers, self._cut(answer))

    async def _cut(self, answer: Answer) -> AsyncGenerator[bytes, None]:
        try:
            body = b"".join([chunk async for chunk in answer.chunks])
        finally:
            await answer.aclose()
        if answer.is_stream:
            for event in EventSplitter().feed(body)[: self.after]:
                yield event.raw
        else:
            yield body[: len(body) // 2]
        raise BrokenAnswerError("The answer was cut off on purpose.")


@dataclass(frozen=True)
class MalformedArguments:
    """Arguments of a tool call that are not JSON, as models sometimes write them."""

    faults: Faults = field(repr=False)

    async def answer(self, exchange: Exchange, ask: Ask) -> Answer:
        """Return the source's answer with its tool calls spoiled; if it has none, put this back."""
        answer = await ask()
        headers = [pair for pair in answer.headers if pair[0] != b"content-length"]
        return Answer(answer.status, headers, self._spoiled(answer, exchange))

    async def _spoiled(self, answer: Answer, exchange: Exchange) -> AsyncGenerator[bytes, None]:
        malformed = exchange.dialect.malformed
        found = False
        try:
            if answer.is_stream:
                splitter = EventSplitter()
                async for chunk in answer.chunks:
                    for event in splitter.feed(chunk):
                        content = event.content
                        spoiled = malformed(content)
                        found = found or spoiled
                        yield encode_event(content, event.name) if spoiled else event.raw
                for event in splitter.end():
                    yield event.raw
            else:
                body = b"".join([chunk async for chunk in answer.chunks])
                content = json_object(body)
                found = malformed(content)
                yield json.dumps(content).encode("ascii") if found else body
        finally:
            await answer.aclose()
            if not found:
                self.faults.put_back(self)


def _check_seconds(seconds: float, name: str) -> None:
    if not 0 <= seconds < math.inf:
        raise SettingsError(f"{name} is {seconds!r}: give seconds, 0 or more.")
