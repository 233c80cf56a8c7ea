"""One request on its way through the gateway, its answer, and what a source of answers is."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from pytest_agent_sandbox.llm.budgets import Budget
from pytest_agent_sandbox.llm.calls import LLMCall
from pytest_agent_sandbox.llm.connections import Connections
from pytest_agent_sandbox.llm.dialects.dialect import Dialect
from pytest_agent_sandbox.llm.sse import is_event_stream, json_object

#: The status of what the gateway refuses: no client tries such a request again.
REFUSED = 400
#: The status of requests that are worded as the gateway does not know.
UNSPOKEN = 404
FIRST_ERROR = 400

#: The ends of paths whose requests cost nothing.
_FREE = ("/count_tokens", "/input_tokens")


@dataclass
class Exchange:
    """A request as a source sees it. The lane's token is checked by then."""

    #: Of the lane the request came by.
    lane: str
    method: str
    #: Below `/v1`, percent-encoded as it came: "/chat/completions".
    path: str
    #: Percent-encoded as it came, without the question mark.
    query: str
    headers: Mapping[str, str]
    body: bytes
    #: How the request is worded.
    dialect: Dialect
    #: The record to fill in.
    call: LLMCall
    #: For sources that pass the request on.
    connections: Connections
    #: What the call is booked to.
    budgets: list[Budget] = field(default_factory=list)
    #: Why nobody here can read it: it is of another dialect. Mostly empty.
    unspoken: str = ""
    #: The beginning of the body that the client got.
    sent: bytearray = field(default_factory=bytearray, repr=False)

    @property
    def asks_model(self) -> bool:
        """Whether this asks for a completion, rather than for models, embeddings or the like."""
        return self.method == "POST" and self.path == self.dialect.path

    def charge_to(self, budget: Budget) -> str:
        """Count the call; why it is to be refused, or empty where the budget has room for it."""
        if self.method == "GET" or self.path.endswith(_FREE):
            return ""
        refusal = budget.take_call()
        if not refusal:
            self.budgets.append(budget)
        return refusal

    @cached_property
    def content(self) -> dict[str, Any]:
        """The body as a JSON object; empty where it is none."""
        return json_object(self.body)

    def refuse(self, message: str, status: int = REFUSED) -> Answer:
        """An error that the gateway itself answers with, in the provider's form."""
        self.call.problem = message
        return error_answer(self.dialect, status, message)


@dataclass
class Answer:
    """An answer whose body comes piece by piece. Who is done with it closes it."""

    status: int
    #: As they go on the wire, names in lower case.
    headers: list[tuple[bytes, bytes]]
    chunks: AsyncGenerator[bytes, None] = field(repr=False)
    #: Whether the provider has said where the body ends, so that one which ended there is whole.
    #: Never so of one that was encoded: nobody tells where half of that is missing.
    is_framed: bool = False

    @property
    def is_stream(self) -> bool:
        """Whether the body is made of server-sent events."""
        return any(
            name == b"content-type" and is_event_stream(value.decode("latin-1"))
            for name, value in self.headers
        )

    @property
    def encoding(self) -> str:
        """How the body is encoded, such as "br"; mostly it is not."""
        return ", ".join(v.decode("latin-1") for n, v in self.headers if n == b"content-encoding")

    @property
    def length(self) -> int | None:
        """Bytes of the body, where the headers tell."""
        return next((int(v) for name, v in self.headers if name == b"content-length"), None)

    async def aclose(self) -> None:
        """Let go of what the rest of the body would come from."""
        await self.chunks.aclose()


class Source(Protocol):
    """Where a lane's answers come from: a script, a cassette, a live provider.

    `answer` runs on the gateway's event loop, the others in any thread.
    """

    async def answer(self, exchange: Exchange) -> Answer:
        """The answer to a request; cancelled when the client goes away or the gateway closes."""
        ...

    def check(self) -> None:
        """Raise what makes it pointless to wait for the agent any longer."""
        ...

    def verify(self) -> None:
        """Raise what is wrong now that the agent is done."""
        ...


class BrokenAnswerError(Exception):
    """The answer broke off in the middle; the client must not take it for whole."""


def whole_answer(
    body: bytes,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    media_type: str = "application/json",
) -> Answer:
    """An answer that is there already."""
    pairs = {"content-type": media_type, **(headers or {}), "content-length": str(len(body))}
    return Answer(status, raw_headers(pairs), _once(body))


def json_answer(
    content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    """An answer in JSON; in ASCII, so that half a surrogate pair gets through unharmed."""
    return whole_answer(json.dumps(content).encode("ascii"), status, headers)


def error_answer(
    dialect: Dialect, status: int, message: str, headers: Mapping[str, str] | None = None
) -> Answer:
    """An error in the provider's form."""
    return json_answer(dialect.error(status, message), status, headers)


def raw_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as they go on the wire."""
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()
    ]


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body
