"""A client that leaves ends the work for it, but not what must not be cut off."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
from starlette.requests import ClientDisconnect

from pytest_agent_sandbox.llm.asgi import unless_gone

LEFT: dict[str, Any] = {"type": "http.disconnect"}


@pytest.mark.asyncio
async def test_what_is_done_before_the_client_leaves() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return "done"

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        return LEFT

    assert await unless_gone(work(), receive) == "done"


@pytest.mark.asyncio
async def test_a_connection_that_is_being_closed_is_closed_to_the_end() -> None:
    """As httpcore does it: a connection that is forgotten before that stays open for ever."""
    closed = False

    async def work() -> None:
        nonlocal closed
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(0.05)
            closed = True
        await asyncio.Event().wait()

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return LEFT

    with pytest.raises(ClientDisconnect):
        await unless_gone(work(), receive)
    assert closed


@pytest.mark.asyncio
async def test_what_the_work_raises_is_raised() -> None:
    async def work() -> None:
        raise ValueError("it failed")

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        return LEFT

    with pytest.raises(ValueError, match="it failed"):
        await unless_gone(work(), receive)
