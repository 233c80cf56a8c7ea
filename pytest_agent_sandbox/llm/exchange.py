"""One request on its way through the gateway, and what a source of answers is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from starlette.responses import Response

from pytest_agent_sandbox.llm.connections import Connections
from pytest_agent_sandbox.llm.replies import Usage


@dataclass
class LLMCall:
    """The record of one call, kept as evidence. Fields fill up while the call is in flight."""

    #: Which of its lane's calls this is, counted from 1.
    number: int
    #: When it arrived, in UTC.
    started: datetime
    #: Below the lane's base URL: "/chat/completions".
    path: str
    #: Empty where the request names none.
    model: str = ""
    #: How many messages the request held.
    messages: int = 0
    #: Whether the client asked for a stream.
    streamed: bool = False
    #: The HTTP status of the answer; None until there is one.
    status: int | None = None
    #: None where the answer did not say.
    usage: Usage | None = None
    #: Seconds from arrival to the answer's last byte; None until then.
    duration: float | None = None
    #: Why the client did not get what it asked for; empty when it did.
    problem: str = ""


@dataclass(frozen=True)
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
    #: The record to fill in.
    call: LLMCall
    #: For sources that pass the request on.
    connections: Connections


class Source(Protocol):
    """Where a lane's answers come from: a script, a live provider.

    `answer` runs on the gateway's event loop, the others in any thread.
    """

    async def answer(self, exchange: Exchange) -> Response:
        """The answer to a request; cancelled when the client goes away or the gateway closes."""
        ...

    def check(self) -> None:
        """Raise what makes it pointless to wait for the agent any longer."""
        ...

    def verify(self) -> None:
        """Raise what is wrong now that the agent is done."""
        ...


class BrokenAnswerError(Exception):
    """The provider's answer broke off in the middle; the client must not take it for whole."""
