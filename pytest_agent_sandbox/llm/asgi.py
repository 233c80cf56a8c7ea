"""HTTP in terms of ASGI: a request's token and body, an answer on its way, a client that leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Send

from pytest_agent_sandbox.llm.exchange import Answer, Exchange
from pytest_agent_sandbox.llm.observer import ANSWER_LIMIT
from pytest_agent_sandbox.llm.room import BodyRoom, NoRoomError

_T = TypeVar("_T")

#: Seconds that a body may take to come.
_SLOWEST_BODY = 300.0
_TIMED_OUT = 408


def token_of(request: Request) -> str:
    """Return the token that a request shows, in either of the two headers that clients use."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    return request.headers.get("x-api-key", "")


async def body_of(request: Request, room: BodyRoom) -> bytes:
    """Return the whole body.

    Raises:
        NoRoomError: It is too large, there is no room for it, or it does not come.
        ClientDisconnect: The client went away.
    """
    room.expect(int(request.headers.get("content-length", 0)))
    body = bytearray()
    try:
        async with asyncio.timeout(_SLOWEST_BODY):
            async for chunk in request.stream():
                room.grow(len(chunk))
                body += chunk
    except TimeoutError:
        message = f"The request's body did not come within {_SLOWEST_BODY:g} s."
        raise NoRoomError(_TIMED_OUT, message) from None
    return bytes(body)


async def send_answer(answer: Answer, send: Send, exchange: Exchange | None = None) -> None:
    """Send an answer and close it.

    Args:
        answer: The answer.
        send: ASGI's function to send with.
        exchange: Gets the answer's status, and the beginning of its body.
    """
    try:
        if exchange is not None:
            exchange.call.status = answer.status
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": answer.headers,
            }
        )
        async for chunk in answer.chunks:
            if exchange is not None:
                exchange.sent += chunk[: ANSWER_LIMIT - len(exchange.sent)]
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        await answer.aclose()


async def unless_gone(work: Coroutine[Any, Any, _T], receive: Receive) -> _T:
    """Return the result of some work, which is cancelled when the client goes away.

    Raises:
        ClientDisconnect: The client went away.
    """
    # Cancelled by a scope, not as a task: HTTP clients close connections in a scope that shields
    # that from the former only, and would forget connections that they are just closing.
    scope = anyio.CancelScope()

    async def leave() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    leaving = asyncio.ensure_future(leave())
    try:
        with scope:
            return await work
        raise ClientDisconnect
    finally:
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
