"""The runs of a conversation, one after the other."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pytest_agent_sandbox.client.answers import as_text
from pytest_agent_sandbox.client.asynchronous import CallerGone
from pytest_agent_sandbox.client.callbacks import CallbackDispatcher
from pytest_agent_sandbox.client.conversation_endpoints import ConversationEndpoints
from pytest_agent_sandbox.client.conversation_run import Run
from pytest_agent_sandbox.client.conversation_state import ConversationState, ExecutionStatus
from pytest_agent_sandbox.client.event_log import EventLog
from pytest_agent_sandbox.client.events import Event
from pytest_agent_sandbox.client.server_log import ServerLog
from pytest_agent_sandbox.client.stream import EventStream
from pytest_agent_sandbox.client.transport import Guard, ServerConnection
from pytest_agent_sandbox.client.turn import AT_REST, Turn
from pytest_agent_sandbox.errors import SandboxError

# Seconds that a callback may spend on one event before a run's end no longer waits for it.
_CALLBACK_PATIENCE = 30.0
# The same, where the run failed and the callbacks do not matter any more.
_FAILED_CALLBACK_PATIENCE = 0.5


class ConversationRuns:
    """The runs of one conversation: asked for, joined, and waited for.

    Args:
        connection: The way to the server.
        endpoints: The requests about the conversation.
        state: The conversation's state.
        log: The conversation's events.
        stream: What keeps both up to date.
        dispatcher: The callbacks, which get what a run brings before its end is told.
        timeout: Seconds for a run that is given no timeout of its own; None for no limit.
        check: Raises the reason when waiting has become pointless.
        server_log: Returns the server's log from now on.
    """

    def __init__(
        self,
        connection: ServerConnection,
        endpoints: ConversationEndpoints,
        state: ConversationState,
        log: EventLog,
        stream: EventStream,
        dispatcher: CallbackDispatcher,
        *,
        timeout: float | None,
        check: Guard,
        server_log: Callable[[], ServerLog],
    ) -> None:
        #: Whose turn it is.
        self.turn = Turn(f"conversation {state.id}", log)
        self._connection = connection
        self._endpoints = endpoints
        self._state = state
        self._log = log
        self._stream = stream
        self._dispatcher = dispatcher
        self._timeout = timeout
        self._check = check
        self._server_log = server_log
        self._run: Run | None = None
        # More than one: a callback may begin the next run before the end of the one that called it
        # is told.
        self._under_way: tuple[Run, ...] = ()
        self._lock = threading.Lock()

    def observe(self, event: Event, *, opening: bool) -> None:
        """Take an event of the stream into account. Called by the stream, in order."""
        latest = self._run
        for run in self._under_way:
            if run is latest or run.watch.end is None:
                run.observe(event, opening=opening)

    def expect(self, deadline: float = math.inf) -> Run:
        """Watch for a run, which is about to be asked for.

        Args:
            deadline: When to give up, by the monotonic clock.
        """
        run = self._watch(deadline)
        self.turn.begin()
        return run

    def _watch(self, deadline: float) -> Run:
        status = self._state.told_status or self._endpoints.fetch(deadline).get("execution_status")
        run = Run(
            self._connection,
            self._state,
            self._log,
            self._stream,
            check=self._check,
            will_run=self.turn.is_agent_due or status != ExecutionStatus.FINISHED,
            server_log=self._server_log(),
        )
        with self._lock:
            others = (other for other in self._under_way if other.watch.end is None)
            self._under_way = (*others, run)
            self._run = run
        return run

    def run(self, timeout: float | None, *, blocking: bool) -> None:
        """Let the agent work until it is done; raise as `RemoteConversation.run` does.

        Args:
            timeout: Seconds.
            blocking: False to return as soon as the agent is at work.
        """
        deadline = self._deadline(timeout)
        with self._waiting(deadline):
            self._check_turn(deadline)
            while True:
                run = self.expect(deadline)
                run.start(deadline)
                if not blocking:
                    return
                status = self._await_end(run, deadline)
                if not (run.joined and status == ExecutionStatus.IDLE):
                    return
                # The run that was joined ended before it read the latest message: here is the next.

    def _check_turn(self, deadline: float) -> None:
        """Raise if a run would find nothing to do."""
        if self.turn.is_agent_due or self.turn.is_open:
            return
        if self._state.told_status not in ("", *AT_REST):
            return
        status = self._endpoints.fetch(deadline).get("execution_status")
        if status == ExecutionStatus.IDLE:  # somebody else may have sent a message
            self._stream.catch_up(deadline)
        self.turn.check_run(as_text(status))

    @property
    def is_under_way(self) -> bool:
        """True while the agent is at work, as far as is known."""
        run = self._run
        is_awaited = run is not None and run.watch.end is None
        return is_awaited or self._state.told_status == ExecutionStatus.RUNNING

    def wait(self, timeout: float | None) -> None:
        """Wait until the agent is done; raise as `RemoteConversation.wait` does.

        Args:
            timeout: Seconds.
        """
        deadline = self._deadline(timeout)
        run = self._run
        if run is None:
            # A run that somebody else began. The watch comes first, as always.
            run = self._watch(deadline)
            if self._endpoints.fetch(deadline).get("execution_status") != ExecutionStatus.RUNNING:
                self._forget(run)
                return
            self.turn.begin()
            run.watch.saw_running()
        with self._waiting(deadline):
            self._await_end(run, deadline)

    def _forget(self, run: Run) -> None:
        with self._lock:
            self._under_way = tuple(other for other in self._under_way if other is not run)
            if self._run is run:
                self._run = None

    def _deadline(self, timeout: float | None) -> float:
        timeout = self._timeout if timeout is None else timeout
        return math.inf if timeout is None else time.monotonic() + timeout

    @contextmanager
    def _waiting(self, deadline: float) -> Iterator[None]:
        """Interrupt the agent where whoever waits for it is cancelled."""
        try:
            with self._connection.time.due(deadline):
                yield
        except CallerGone:
            with suppress(SandboxError):
                self._endpoints.stop()
            raise

    def _await_end(self, run: Run, deadline: float) -> str:
        """Wait for a run's end and return its status; raise what it or a callback raised."""
        try:
            status = run.wait(deadline)
        except SandboxError as error:
            self._dispatcher.flush(_FAILED_CALLBACK_PATIENCE)
            raise error from self._dispatcher.take_error()
        self._dispatcher.flush(_CALLBACK_PATIENCE)
        callback_error = self._dispatcher.take_error()
        self.turn.is_open = False
        if callback_error is not None:
            raise callback_error
        return status
