"""Keeps the LLM calls of a conversation as its test's evidence."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pytest_agent_sandbox.evidence import llm_steps

if TYPE_CHECKING:
    from pytest_agent_sandbox.evidence.recorder import Recorder
    from pytest_agent_sandbox.llm.calls import LLMCall
    from pytest_agent_sandbox.llm.observer import News


class LLMObserver:
    """Keeps the LLM calls of one conversation. A full disk is not the agent's failure.

    Args:
        recorder: The test's.
        conversation: The conversation's number.
    """

    def __init__(self, recorder: Recorder, conversation: str) -> None:
        self._recorder = recorder
        self._conversation = conversation

    def asked(self, call: LLMCall, news: News) -> None:
        """Keeps what is new in a request."""
        with contextlib.suppress(OSError):
            self._recorder.record_llm_call(llm_steps.asked_record(self._conversation, call, news))

    def answered(self, call: LLMCall, answer: bytes) -> None:
        """Keeps how a call ended."""
        with contextlib.suppress(OSError):
            record = llm_steps.answered_record(self._conversation, call, answer)
            self._recorder.record_llm_call(record, ended=call)
