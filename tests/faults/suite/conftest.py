"""What the injected faults have in common: when each happened, what was raised, and when."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_agent_sandbox import say, tool

ROWS = Path(os.environ["FAULT_ROWS"])


class Fault:
    """One injected fault."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._happened = 0.0
        self._has_happened = threading.Event()

    def happens(self) -> None:
        """Says that it happens now; what comes of it is measured from here."""
        self._happened = time.monotonic()
        self._has_happened.set()

    def later(
        self, inject: Callable[[], object], seconds: float = 0.0, *, done: bool = False
    ) -> threading.Thread:
        """Has it happen in another thread: when that begins to be done, or when it is done."""

        def work() -> None:
            time.sleep(seconds)
            if not done:
                self.happens()
            inject()
            if done:
                self.happens()

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    def during(self, action: Callable[[], Any]) -> Any:
        """Does something, and writes down what came of it."""
        try:
            found = action()
        except BaseException as error:
            self._write(type(error).__name__, str(error))
            raise
        self._write("", "")
        return found

    def _write(self, error: str, message: str) -> None:
        noticed = time.monotonic()
        assert self._has_happened.wait(2), "noticed before it happened"
        row = {
            "fault": self._name,
            "error": error,
            "message": message.partition("\n")[0],
            "seconds": round(max(0.0, noticed - self._happened), 3),
        }
        with ROWS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


@pytest.fixture
def fault(request: pytest.FixtureRequest) -> Fault:
    return Fault(request.node.name.removeprefix("test_"))


@pytest.fixture
def working(agent_llm, agent_conversation) -> Callable[..., Any]:
    """A conversation whose agent is in the middle of a long tool call."""

    def start(*replies: object, command: str = "echo begun; sleep 30", **options: Any) -> Any:
        agent_llm.script([tool("terminal", command=command), *(replies or [say("Done.")])])
        conversation = agent_conversation(**options)
        conversation.send_message("Go.")
        conversation.run(blocking=False)
        deadline = time.monotonic() + 30
        while not conversation.events.tool_calls():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.3)
        return conversation

    return start
