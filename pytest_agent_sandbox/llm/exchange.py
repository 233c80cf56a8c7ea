"""A request on its way through the gateway, its answer, and the protocol of all sources."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeVar

from pytest_agent_sandbox.llm.budgets import Budget
from pytest_agent_sandbox.llm.calls import LLMCall
from pytest_agent_sandbox.llm.connections import Connections
from pytest_agent_sandbox.llm.dialects.dialect import Dialect
from pytest_agent_sandbox.llm.heavy import LARGE, HeavyWork
from pytest_agent_sandbox.llm.sse import is_event_stream, json_object

_T = TypeVar("_T")

#: The status of what the gateway refuses: no client tries such a request again.
REFUSED = 400
#: The status of requests in a dialect that the gateway does not speak.
UNSPOKEN = 404
FIRST_ERROR = 400


@dataclass(frozen=True)
class Refusal:
    """Why a request is refused, and the status of the error that says so."""

    status: int
    message: str


@dataclass
class Exchange:
    """A request as a source sees it, after the lane's token was checked."""

    #: The name of the lane that the request came by.
    lane: str
    method: str
    #: Below `/v1`: "/chat/completions". It holds nothing that could be read in two ways.
    path: str
    #: Percent-encoded as it came, without the question mark.
    query: str
    headers: Mapping[str, str]
    body: bytes
    #: The dialect of the request.
    dialect: Dialect
    #: The call's record, to fill in.
    call: LLMCall
    #: Connections for sources that pass the request on.
    connections: Connections
    #: The budgets that pay for the call.
    budgets: list[Budget] = field(default_factory=list)
    #: Why it goes no further than the gateway's door: its dialect is another, or its path.
    refusal: Refusal | None = None
    #: Whether it costs nothing, as counting tokens does.
    is_free: bool = False
    #: What the body says, if it was read at the door; `body` is then written anew.
    given: dict[str, Any] | None = None
    #: The beginning of the body that the client got.
    sent: bytearray = field(default_factory=bytearray, repr=False)
    #: Where its lane does what takes long.
    heavy: HeavyWork = field(default_factory=HeavyWork, repr=False)

    async def work(self, function: Callable[[], _T], *, is_heavy: bool = False) -> _T:
        """Do what takes long for a large body; in a thread then, and if it always is heavy."""
        return await self.heavy.do(function, is_heavy=is_heavy or len(self.body) > LARGE)

    @property
    def asks_model(self) -> bool:
        """True if this asks for a completion, not for models, embeddings or the like."""
        return self.method == "POST" and self.path == self.dialect.path

    def charge_to(self, budget: Budget) -> str:
        """Count the call, or return why it has to be refused; empty if it was counted."""
        if self.is_free:
            return ""
        refusal = budget.take_call()
        if not refusal:
            self.budgets.append(budget)
        return refusal

    @cached_property
    def content(self) -> dict[str, Any]:
        """The body as a JSON object; empty if it is not one."""
        return json_object(self.body) if self.given is None else self.given

    @cached_property
    def provider_tools(self) -> list[str]:
        """What the request asks the provider to run."""
        return self.dialect.provider_tools(self.content)

    def refuse(self, message: str, status: int = REFUSED) -> Answer:
        """Return an error of the gateway's own, in the provider's form."""
        self.call.problem = message
        return error_answer(self.dialect, status, message)


@dataclass
class Answer:
    """An answer whose body comes piece by piece. Whoever is done with it has to close it."""

    status: int
    #: The headers as they go on the wire, with names in lower case.
    headers: list[tuple[bytes, bytes]]
    chunks: AsyncGenerator[bytes, None] = field(repr=False)
    #: Whether the provider has said where the body ends, so that a body that ends there is whole.
    #: Never true of an encoded body, where a missing half would not be noticed.
    is_framed: bool = False

    @property
    def is_stream(self) -> bool:
        """True if the body is made of server-sent events."""
        return any(
            name == b"content-type" and is_event_stream(value.decode("latin-1"))
            for name, value in self.headers
        )

    @property
    def encoding(self) -> str:
        """The body's encoding, such as "br"; mostly empty."""
        return ", ".join(v.decode("latin-1") for n, v in self.headers if n == b"content-encoding")

    @property
    def length(self) -> int | None:
        """The bytes of the body, if the headers state them."""
        return next((int(v) for name, v in self.headers if name == b"content-length"), None)

    async def aclose(self) -> None:
        """Close what the rest of the body would come from."""
        await self.chunks.aclose()


class Source(Protocol):
    """A source of a lane's answers: a script, a cassette, a live LLM.

    `answer` runs on the gateway's event loop, the others in any thread.
    """

    async def answer(self, exchange: Exchange) -> Answer:
        """Answer a request; cancelled when the client goes away or the gateway closes."""
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
    """Return an answer whose body is complete already."""
    pairs = {"content-type": media_type, **(headers or {}), "content-length": str(len(body))}
    return Answer(status, raw_headers(pairs), _once(body))


def json_answer(
    content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    """Return an answer in JSON; in ASCII, so that half a surrogate pair gets through unharmed."""
    return whole_answer(json.dumps(content).encode("ascii"), status, headers)


def error_answer(
    dialect: Dialect, status: int, message: str, headers: Mapping[str, str] | None = None
) -> Answer:
    """Return an error in the provider's form."""
    return json_answer(dialect.error(status, message), status, headers)


def raw_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return headers as they go on the wire."""
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()
    ]


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body
