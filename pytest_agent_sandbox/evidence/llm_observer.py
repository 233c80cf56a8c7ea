"""Observer of a conversation's LLM calls, which makes the records of llm-calls.jsonl of them."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from pytest_agent_sandbox.llm.observer import ANSWER_LIMIT

if TYPE_CHECKING:
    from pytest_agent_sandbox.llm.calls import LLMCall
    from pytest_agent_sandbox.llm.observer import News

#: Bytes that go from the end of an answer that was cut: more than a line of a secret has.
_MAY_BE_CUT = 1024


class Record(Protocol):
    """A function that keeps the records of calls."""

    def __call__(self, record: dict[str, Any], ended: LLMCall | None = None) -> None:
        """Append a record; one of a call that has ended comes with the call."""


class LLMObserver:
    """Observer of one conversation's LLM calls. A full disk is not the agent's failure.

    Args:
        record: Keeps a record.
        conversation: The conversation's number.
    """

    def __init__(self, record: Record, conversation: str) -> None:
        self._record = record
        self._conversation = conversation

    def asked(self, call: LLMCall, news: News) -> None:
        """Keep what is new in a request."""
        with contextlib.suppress(OSError):
            self._record(asked_record(self._conversation, call, news))

    def answered(self, call: LLMCall, answer: bytes) -> None:
        """Keep how a call ended."""
        with contextlib.suppress(OSError):
            self._record(answered_record(self._conversation, call, answer), ended=call)


def asked_record(conversation: str, call: LLMCall, news: News) -> dict[str, Any]:
    """Return what llm-calls.jsonl holds of a request."""
    return {
        "conversation": conversation,
        "number": call.number,
        "state": "asked",
        "time": call.started.timestamp(),
        "path": call.path,
        "model": call.model,
        "streamed": call.streamed,
        "repeated_messages": news.repeated,
        "new_messages": news.messages,
        "tools": news.tools,
    }


def answered_record(conversation: str, call: LLMCall, answer: bytes) -> dict[str, Any]:
    """Return what llm-calls.jsonl holds of how a call ended."""
    return {
        "conversation": conversation,
        "number": call.number,
        "state": "answered",
        "time": datetime.now(UTC).timestamp(),
        "duration": call.duration,
        "status": call.status,
        "origin": call.origin,
        "usage": None if call.usage is None else vars(call.usage),
        "cost": call.cost,
        "problem": call.problem,
        "answer": _answer_text(answer),
    }


def _answer_text(answer: bytes) -> str:
    if len(answer) < ANSWER_LIMIT:
        return answer.decode(errors="replace")
    # The end may be half a secret, which nothing would mask.
    kept = answer[:-_MAY_BE_CUT].decode(errors="replace")
    return f"{kept}\n… the rest of the answer is left out …"
