"""Whose turn it is in a conversation: the agent's, or that of whoever talks to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from pytest_agent_sandbox.client.conversation_state import ExecutionStatus
from pytest_agent_sandbox.client.event_log import EventLog
from pytest_agent_sandbox.errors import ConversationMisused

#: What a run finds nothing to do in, unless there is a message.
AT_REST = (ExecutionStatus.IDLE, ExecutionStatus.FINISHED)
#: Characters of a message that an error quotes.
_LONGEST = 80


class Turn:
    """What was said to an agent, and whether it was run since.

    Args:
        name: The conversation, for messages.
        log: Its events.
    """

    def __init__(self, name: str, log: EventLog) -> None:
        #: Whether the agent has something to react to, even if it had finished.
        self.is_agent_due = False
        #: Whether a run may have been cut short, or its end not be known yet: the next one goes on.
        self.is_open = False
        self._name = name
        self._log = log
        self._waiting = ""

    def begin(self) -> None:
        """Take note that a run begins."""
        self.is_agent_due = False
        self.is_open = True
        self._waiting = ""

    def sent(self, message: str | Mapping[str, Any] | BaseModel, *, is_running: bool) -> None:
        """Take note of a message; an agent that is at work may see it without a further run."""
        if not is_running:
            text = message if isinstance(message, str) else "(a message of several parts)"
            self._waiting = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"

    def check_run(self, status: str) -> None:
        """Raise if a run finds nothing to do.

        Args:
            status: The conversation's, as the server says it now.

        Raises:
            ConversationMisused: The agent has no message, or none since it finished.
        """
        if status == ExecutionStatus.FINISHED:
            raise ConversationMisused(
                f"run() has nothing to do: the agent of {self._name} has finished, and was told "
                "nothing since. Call send_message(…) first."
            )
        if status == ExecutionStatus.IDLE and not self._log.messages("user"):
            raise ConversationMisused(
                f"run() has nothing to do: {self._name} has no message yet. "
                "Call send_message(…) first."
            )

    def check_messages(self) -> None:
        """Raise if a message was sent and never run.

        Raises:
            ConversationMisused: It was.
        """
        if self._waiting and not self._was_answered:
            raise ConversationMisused(
                f"A message was sent to {self._name} and never run: {self._waiting!r}. "
                "Call run() after send_message(…): the agent does nothing before."
            )

    @property
    def _was_answered(self) -> bool:
        """True if somebody else has run it: another object of the same conversation."""
        for event in reversed(self._log):
            if event.source == "agent":
                return True
            if event.source == "user":
                return False
        return False
