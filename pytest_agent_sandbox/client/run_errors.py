"""The errors that a run of an agent may end in, with all that explains them."""

from __future__ import annotations

import time

from pytest_agent_sandbox.client.conversation_state import ConversationState, ExecutionStatus
from pytest_agent_sandbox.client.event_log import EventLog
from pytest_agent_sandbox.client.events import (
    ConversationErrorEvent,
    ConversationStateUpdateEvent,
    Event,
)
from pytest_agent_sandbox.client.server_log import ServerLog
from pytest_agent_sandbox.errors import ConversationFailed, ConversationTimeout, ServerError

#: How the codes of errors of ACP agents begin (server 1.58).
_ACP = "ACP"


class RunErrors:
    """The errors of one run. To be made before the run is asked for.

    Args:
        state: The conversation's state.
        log: The conversation's events.
        server_log: The server's log, from before the run on.
    """

    def __init__(self, state: ConversationState, log: EventLog, server_log: ServerLog) -> None:
        self._name = f"conversation {state.id}"
        self._state = state
        self._log = log
        self._server_log = server_log
        self._first_event = len(log)
        self._began = time.monotonic()
        self._latest: tuple[Event, float] | None = None

    @property
    def seconds(self) -> float:
        """Seconds since the run was asked for."""
        return time.monotonic() - self._began

    def observe(self, event: Event) -> None:
        """Remember an event of the stream as the latest, unless it only tells the state."""
        if not isinstance(event, ConversationStateUpdateEvent):
            self._latest = (event, time.monotonic())

    def failure(self, status: str) -> ConversationFailed:
        """Return the error of a run that failed.

        Args:
            status: The status that it ended in.
        """
        errors = [
            event
            for event in self._log[self._first_event :]
            if isinstance(event, ConversationErrorEvent)
        ]
        if errors:
            words = errors[-1].text
        elif status == ExecutionStatus.STUCK:
            words = "the server saw the agent repeat itself"
        else:
            words = "the server did not say why"
        said = ""
        if any(event.code.startswith(_ACP) for event in errors):  # it tells little by itself
            said = self._server_log.of_program()
        return ConversationFailed(
            f"The run of {self._name} ended in status {status!r}: {words}"
            + _quote("What the agent's program printed last:", said)
        )

    def timeout(self, text: str) -> ConversationTimeout:
        """Return the error of a run that did not end in time.

        Args:
            text: What to say at the end.
        """
        if self._latest is None:
            latest = "no event since it began"
        else:
            event, when = self._latest
            latest = f"its latest event, {time.monotonic() - when:.1f} s ago, is {event}"
        return ConversationTimeout(
            f"The run of {self._name} did not end within {self.seconds:.1f} s: its status is "
            f"{str(self._state.told_status or 'unknown')!r}, {latest}. {text}"
        )

    def not_taken_up(self, error: ServerError) -> ConversationTimeout:
        """Return the error of a run that the server did not begin in time.

        Args:
            error: The server's last answer.
        """
        return self.timeout(f"The server did not take up the run: {error}")

    def silence(self, seconds: float) -> ServerError:
        """Return the error of a run that did not end in time, and whose server is silent.

        Args:
            seconds: For how long it is.
        """
        return ServerError(
            f"The run of {self._name} did not end within {self.seconds:.1f} s, and the "
            f"server has answered nothing for the last {seconds:.0f} s."
        )

    def refusal(self, error: ServerError) -> ServerError:
        """Return the error of a run that the server refuses to begin.

        Args:
            error: The server's answer.
        """
        return ServerError(
            f"The server began no run of {self._name}, and refuses to: {error}" + self._logged(),
            status=error.status,
        )

    def never_begun(self) -> ConversationFailed:
        """Return the error of a run that the server agreed to twice, and did not begin."""
        return ConversationFailed(
            f"The server took the request for a run of {self._name} twice, and began "
            "none: they failed without a word, as on a full disk." + self._logged()
        )

    def _logged(self) -> str:
        return _quote("The last error in its log:", self._server_log.of_server())


def _quote(title: str, lines: str) -> str:
    return f"\n{title}\n{lines}" if lines else ""
