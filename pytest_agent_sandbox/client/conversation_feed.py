"""The news of a conversation, as its server sends them: state, events and runs, kept up to date."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from pytest_agent_sandbox.client.callbacks import CallbackDispatcher, EventCallback
from pytest_agent_sandbox.client.conversation_endpoints import ConversationEndpoints
from pytest_agent_sandbox.client.conversation_runs import ConversationRuns
from pytest_agent_sandbox.client.conversation_state import ConversationState
from pytest_agent_sandbox.client.event_log import EventLog
from pytest_agent_sandbox.client.events import ConversationStateUpdateEvent, Event
from pytest_agent_sandbox.client.server_log import ServerLog
from pytest_agent_sandbox.client.stream import EventStream
from pytest_agent_sandbox.client.transport import GUARD_INTERVAL, Guard, ServerConnection
from pytest_agent_sandbox.errors import ServerError

# Seconds for the event stream to come up.
_READY_TIMEOUT = 30.0
# Seconds between two looks at what the events have told; at whether they come at all; and for that.
_TELL_INTERVAL = 0.05
_LOOK_INTERVAL = 1.0
_LOOK_TIMEOUT = 10.0
# Seconds for the callbacks to come to an end when the conversation is closed.
_CLOSE_PATIENCE = 0.03


class ConversationFeed:
    """Everything that the server sends of one conversation, put where it belongs.

    Args:
        connection: The way to the server.
        conversation_id: The conversation.
        callbacks: Called with each event.
        guard: Asked while waiting, in addition to the connection's.
        run_timeout: Seconds for a run that is given no timeout of its own; None for no limit.
        server_log: Returns the server's log from now on.

    Attributes:
        endpoints: The requests about the conversation.
        state: What the server told of its state.
        events: Its events so far, in order.
        runs: Its runs.
    """

    def __init__(
        self,
        connection: ServerConnection,
        conversation_id: str,
        callbacks: Sequence[EventCallback],
        *,
        guard: Guard | None,
        run_timeout: float | None,
        server_log: Callable[[], ServerLog],
    ) -> None:
        self.endpoints = ConversationEndpoints(connection, conversation_id)
        self.events = EventLog()
        self.state = ConversationState(conversation_id, self.endpoints.fetch, self.events)
        self._connection = connection
        self._guard = guard
        self._dispatcher = CallbackDispatcher(callbacks, name=f"event-callbacks-{conversation_id}")
        self._stream = EventStream(connection, conversation_id, self.events, self._receive)
        self.runs = ConversationRuns(
            connection,
            self.endpoints,
            self.state,
            self.events,
            self._stream,
            self._dispatcher,
            timeout=run_timeout,
            check=self._check,
            server_log=server_log,
        )
        self._stream.start()

    def wait_until_ready(self, end: float) -> None:
        """Wait until the server sends the events, for 30 s at most.

        Args:
            end: When to give up, by the monotonic clock.

        Raises:
            ServerError: It does not.
            SandboxError: Whatever makes waiting pointless.
        """
        began = time.monotonic()
        patience = max(0.0, min(_READY_TIMEOUT, end - began))
        while not self._stream.wait_until_ready(min(GUARD_INTERVAL, patience)):
            self._check()
            if time.monotonic() > began + patience:
                raise ServerError(
                    f"The server did not send the events of conversation {self.state.id} within "
                    f"{round(patience, 1):g} s."
                )

    def wait_until(self, is_told: Callable[[], bool], end: float) -> bool:
        """Wait until the events have told something; return whether they have.

        Args:
            is_told: Whether they have by now.
            end: When to give up, by the monotonic clock.

        Raises:
            SandboxError: Whatever makes waiting pointless.
        """
        next_look = time.monotonic() + _LOOK_INTERVAL
        while not is_told():
            self._check()
            now = time.monotonic()
            if now >= end:
                return False
            if now >= next_look:
                with suppress(ServerError):
                    self._stream.break_silence(min(end, now + _LOOK_TIMEOUT))
                next_look = time.monotonic() + _LOOK_INTERVAL
            time.sleep(min(_TELL_INTERVAL, max(0.0, end - now)))
        return True

    def take_callback_error(self, patience: float = 0.0) -> BaseException | None:
        """Return what a callback raised, where nobody was told yet.

        Args:
            patience: Seconds that callbacks may still spend on a single event.
        """
        self._dispatcher.flush(patience)
        return self._dispatcher.take_error()

    def close(self) -> None:
        """Let go of the conversation. What the callbacks did not get by then is dropped."""
        self._stream.close()
        self._dispatcher.close(_CLOSE_PATIENCE)

    def _receive(self, event: Event, opening: bool) -> None:
        if isinstance(event, ConversationStateUpdateEvent):
            self.state.apply(event)
        self.runs.observe(event, opening=opening)
        self._dispatcher.put(event)

    def _check(self) -> None:
        """Raise the reason when waiting has become pointless."""
        self._connection.check()
        self._stream.check()
        if self._guard is not None:
            self._guard()
