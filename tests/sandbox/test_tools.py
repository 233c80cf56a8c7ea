"""Functions of a test that agents call: what is still called when the conversation is over."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

from pytest_agent_sandbox.client.client_tools import client_tool
from pytest_agent_sandbox.sandbox.tools import ServedTools


def test_a_call_that_waits_is_not_made_once_it_is_closed() -> None:
    begun: list[int] = []
    first, go_on = threading.Event(), threading.Event()

    @client_tool(name="work", description="Works.")
    def work(number: int) -> None:
        begun.append(number)
        first.set()
        go_on.wait(10)

    service = SimpleNamespace(token="t", url="http://x", close=lambda: None)
    gateway: Any = SimpleNamespace(open_service=lambda serve: service)
    served = ServedTools([work], gateway)

    async def call_twice() -> list[tuple[str, bool]]:
        calls = [asyncio.ensure_future(served._answer(work, {"number": n})) for n in (1, 2)]
        await asyncio.to_thread(first.wait, 10)
        served.close()
        go_on.set()
        return await asyncio.gather(*calls)

    answers = asyncio.run(call_twice())
    assert answers == [("The conversation is over.", True)] * 2
    for thread in threading.enumerate():
        if thread.name == "client-tool-work":
            thread.join(10)
    assert begun == [1]
