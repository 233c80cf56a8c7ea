"""How tests start conversations, and what they ask of them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pytest_agent_sandbox.client.conversation import RemoteConversation

Converse = Callable[..., RemoteConversation]


def in_background(
    function: Callable[..., object], *arguments: object
) -> Callable[[], Exception | None]:
    """Run a function on a thread; the answer waits for it and returns what it raised."""
    raised: list[Exception] = []

    def call() -> None:
        try:
            function(*arguments)
        except Exception as error:  # noqa: BLE001
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()

    def join() -> Exception | None:
        thread.join(30)
        assert not thread.is_alive()
        return raised[0] if raised else None

    return join


def tool_is_running(conversation: RemoteConversation) -> bool:
    calls = conversation.events.tool_calls("terminal")
    return bool(calls) and calls[-1].observation is None
