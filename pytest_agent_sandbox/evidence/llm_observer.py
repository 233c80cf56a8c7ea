"""Keeps the LLM calls of a conversation as its test's evidence."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from pytest_agent_sandbox.evidence import llm_steps

if TYPE_CHECKING:
    from pytest_agent_sandbox.llm.calls import LLMCall
    from pytest_agent_sandbox.llm.observer import News


class Record(Protocol):
    """What keeps the records of calls."""

    def __call__(self, record: dict[str, Any], ended: LLMCall | None = None) -> None:
        """Appends a record; one of a call that has ended comes with the call."""


class LLMObserver:
    """Keeps the LLM calls of one conversation. A full disk is not the agent's failure.

    Args:
        record: The test's recorder.
        conversation: The conversation's number.
    """

    def __init__(self, record: Record, conversation: str) -> None:
        self._record = record
        self._conversation = conversation

    def asked(self, call: LLMCall, news: News) -> None:
        """Keeps what is new in a request."""
        with contextlib.suppress(OSError):
            self._record(llm_steps.asked_record(self._conversation, call, news))

    def answered(self, call: LLMCall, answer: bytes) -> None:
        """Keeps how a call ended."""
        with contextlib.suppress(OSError):
            record = llm_steps.answered_record(self._conversation, call, answer)
            self._record(record, ended=call)
