"""What stands for a conversation whose LLM calls nobody would answer."""

from __future__ import annotations

from typing import Any, NoReturn, Self

import pytest


class Unanswered:
    """A conversation without script, cassette and live LLM, for which no sandbox starts.

    Using it skips the test. Making it does not, for the test may be about to call
    `agent_llm.script([…])`, which then says that it comes too late. So messages are taken, and lead
    nowhere.

    Args:
        reason: Why the test is skipped.
    """

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __repr__(self) -> str:
        return "<conversation that nobody answers>"

    def skip(self) -> NoReturn:
        """Skip the test."""
        pytest.skip(self._reason)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python asks for these, not the test
            raise AttributeError(name)
        self.skip()

    def send_message(self, *_: object, **__: object) -> None:
        """Take a message that goes nowhere."""

    async def asend_message(self, *_: object, **__: object) -> None:
        """Take a message that goes nowhere."""

    def close(self) -> None:
        """Close nothing."""

    async def aclose(self) -> None:
        """Close nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass
