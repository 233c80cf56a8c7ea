"""One run of an agent: the request for it, and the wait for its end."""

from __future__ import annotations

import contextlib
import math
import time
from http import HTTPStatus
from typing import Any

from pytest_agent_sandbox.client import versions
from pytest_agent_sandbox.client.answers import an_object, as_text
from pytest_agent_sandbox.client.conversation_state import ConversationState, ExecutionStatus
from pytest_agent_sandbox.client.event_log import EventLog
from pytest_agent_sandbox.client.events import Event
from pytest_agent_sandbox.client.run_errors import RunErrors
from pytest_agent_sandbox.client.run_watch import RunWatch
from pytest_agent_sandbox.client.server_log import ServerLog
from pytest_agent_sandbox.client.stream import EventStream
from pytest_agent_sandbox.client.transport import (
    GUARD_INTERVAL,
    Guard,
    ServerConnection,
    is_silence,
)
from pytest_agent_sandbox.errors import ConversationTimeout, ServerError
from pytest_agent_sandbox.host import seldom

logger = seldom.logger(__name__)

#: Seconds between two polls of the status, and for one to be answered.
_POLL_INTERVAL = 1.0
_POLL_TIMEOUT = 10.0
#: Seconds of failing polls after which a run is given up; and of polls without an answer, where the
#: run has no deadline: a hook of the agent's may keep the server (1.58) from answering for minutes.
_POLL_PATIENCE = 60.0
_LONGEST_SILENCE = 600.0
#: Seconds for an earlier run to make way for this one.
_CLOSING_PATIENCE = 2.0
#: Seconds between two requests for a run, while an earlier one is closing and while the server has
#: too many at once.
_CLOSING_INTERVAL = 0.05
_CAPACITY_INTERVAL = 0.5
#: Seconds for the rest of the events, where the run's end is known and its time is over.
_CATCH_UP_PATIENCE = 5.0
#: Seconds for the server to publish the end of a run that failed or was interrupted.
_END_PATIENCE = 2.0
#: Seconds for the server to answer the interrupt that follows a timeout; and where it answers
#: nothing any more, so that the interrupt is sent at least.
_INTERRUPT_TIMEOUT = 3.0
_SILENT_INTERRUPT_TIMEOUT = 0.5


class Run:
    """A run of the agent. To be made before the run is asked for, so that nothing is missed.

    Args:
        connection: The way to the server.
        state: The conversation's state.
        log: The conversation's events.
        stream: What keeps both up to date.
        check: Raises the reason when waiting has become pointless.
        will_run: False when the server will find nothing to do.
        server_log: The server's log, from before the run on.
    """

    def __init__(
        self,
        connection: ServerConnection,
        state: ConversationState,
        log: EventLog,
        stream: EventStream,
        *,
        check: Guard,
        will_run: bool,
        server_log: ServerLog,
    ) -> None:
        self.watch = RunWatch(will_run=will_run)
        #: Whether this is a run that was going on already.
        self.joined = False
        self._connection = connection
        self._path = f"/api/conversations/{state.id}"
        self._state = state
        self._stream = stream
        self._check = check
        self._errors = RunErrors(state, log, server_log)
        self._connection_number = stream.connection_number
        self._unanswered_since: float | None = None
        self._asked_again = False
        self._refusal: ServerError | None = None

    def observe(self, event: Event, *, opening: bool) -> None:
        """Take an event of the stream into account. Called by the stream, in order."""
        self._errors.observe(event)
        self.watch.observe(event, opening=opening)

    def start(self, deadline: float) -> None:
        """Ask the server for the run.

        Args:
            deadline: When to give up, by the monotonic clock.

        Raises:
            ConversationTimeout: The server had no room for the run until then, or did not answer.
            ServerError: The server refused.
        """
        while True:
            self._check()
            try:
                # Harmless to repeat: a run that is under way answers with a conflict.
                self._connection.request(
                    "POST", f"{self._path}/run", retry=True, deadline=_end_of_silence(deadline)
                )
            except ServerError as error:
                pause = self._pause_after(error, deadline)
                if pause is None:
                    return
                if time.monotonic() + pause > deadline:
                    raise self._errors.not_taken_up(error) from error
                time.sleep(pause)
            else:
                return

    def _pause_after(self, error: ServerError, deadline: float) -> float | None:
        """Return the seconds until the next request for the run; None where one is under way.

        Args:
            error: The answer to the latest request.
            deadline: When to give up, by the monotonic clock.

        Raises:
            ConversationTimeout: The server did not answer in time.
            ServerError: The server refused for good.
        """
        if error.status is None and time.monotonic() >= deadline:
            raise self._errors.not_taken_up(error) from error
        if error.status == HTTPStatus.TOO_MANY_REQUESTS:
            return _CAPACITY_INTERVAL
        if error.status == HTTPStatus.CONFLICT:
            if not self._is_under_way(deadline):
                return _CLOSING_INTERVAL
            self.joined = True
            self.watch.saw_running()
            return None
        if is_silence(error) and deadline < math.inf:
            timeout = self._errors.not_taken_up(error)
            self._stop()  # the server may have begun the run without saying so
            raise timeout from error
        raise error

    def wait(self, deadline: float) -> str:
        """Wait for the end and return the status.

        Args:
            deadline: When to give up, by the monotonic clock.

        Raises:
            ConversationFailed: The run failed.
            ConversationTimeout: It was not over in time; it has been interrupted then.
            ServerError: The server no longer knows the conversation, or no longer answers.
            SandboxError: Whatever else makes waiting pointless.
        """
        next_poll = time.monotonic() + _POLL_INTERVAL
        while not self.watch.wait(max(0.0, min(GUARD_INTERVAL, deadline - time.monotonic()))):
            self._check()
            now = time.monotonic()
            if now >= deadline:
                raise self._interrupted()
            if now >= next_poll:
                self._poll(deadline)
                next_poll = time.monotonic() + _POLL_INTERVAL
        if self.watch.failure is not None:
            # The explanation of a failure comes a moment after the news of it.
            self._wait_for_end()
            with contextlib.suppress(ServerError):
                self._catch_up(deadline)
            self._check()
            raise self._errors.failure(self.watch.failure)
        status = self.watch.end
        assert status is not None
        return status

    def _is_under_way(self, deadline: float) -> bool:
        """Tell whether a conflict means a run at work, rather than one that is closing."""
        if self._errors.seconds > _CLOSING_PATIENCE:
            return True
        status = self._state.told_status or self._ask(deadline).get("execution_status")
        return status == ExecutionStatus.RUNNING

    def _ask(self, deadline: float) -> dict[str, Any]:
        answer = self._connection.request("GET", self._path, timeout=_poll_timeout(deadline))
        return an_object(self._connection.decoded(answer), self._path)

    def _poll(self, deadline: float) -> None:
        now = time.monotonic()
        try:
            info = self._ask(deadline)
        except ServerError as error:
            if _is_final(error):
                raise
            self._unanswered_since = self._unanswered_since or now
            if now - self._unanswered_since > _patience_with(error, deadline):
                raise
            logger.debug("The run's status could not be had: %s", error)
            return
        self._unanswered_since = None
        with contextlib.suppress(ServerError):  # it says so when it is asked again
            self._stream.break_silence(now + _poll_timeout(deadline))
        number = self._stream.connection_number
        is_over = self.watch.poll(
            as_text(info.get("execution_status")),
            now,
            missed=number is None or number != self._connection_number,
        )
        if self.watch.never_began(now):
            self._look_for_run(deadline)
        if is_over:  # the saved state lags behind the events
            self._state.update({name: info.get(name) for name in ("execution_status", "stats")})
            self._catch_up(deadline)

    def _catch_up(self, deadline: float) -> None:
        self._stream.catch_up(max(deadline, time.monotonic() + _CATCH_UP_PATIENCE))

    def _look_for_run(self, deadline: float) -> None:
        """Ask for the run again: the server refuses while one is there, however long it prepares.

        An agent may have to be downloaded first, or an MCP server of it.

        Raises:
            ConversationFailed: The server took the request twice, and began nothing.
            ServerError: The server refused the request for another reason, twice or for good.
        """
        try:
            self._connection.request("POST", f"{self._path}/run", timeout=_poll_timeout(deadline))
        except ServerError as error:
            if _is_being_prepared(error):
                self._refusal = None
                logger.debug("The run is still being prepared, it seems: %s", error)
            elif self._refusal is not None or _is_final(error):
                raise self._errors.refusal(error) from error
            else:
                self._refusal = error
        else:
            self._refusal = None
            if self._asked_again:
                raise self._errors.never_begun()
            self._asked_again = True
        self.watch.wait_anew(time.monotonic())

    def _wait_for_end(self) -> None:
        deadline = time.monotonic() + _END_PATIENCE
        while self.watch.end is None and time.monotonic() < deadline:
            self._check()
            self.watch.wait_for_end(GUARD_INTERVAL)

    def _interrupted(self) -> ConversationTimeout | ServerError:
        """Stop the agent, which would go on spending, and return the error to raise."""
        now = time.monotonic()
        silent = 0.0 if self._unanswered_since is None else now - self._unanswered_since
        words = "It has been interrupted."
        if self._refusal is not None:
            words += f" Asked for the run again, the server refused: {self._refusal}"
        error: ConversationTimeout | ServerError = self._errors.timeout(words)
        if silent > _POLL_PATIENCE:
            error = self._errors.silence(silent)
        self._stop()
        return error

    def _stop(self) -> None:
        is_silent = self._unanswered_since is not None
        patience = _SILENT_INTERRUPT_TIMEOUT if is_silent else _INTERRUPT_TIMEOUT
        with contextlib.suppress(ServerError):
            with self._connection.time.within(patience):
                action = versions.stopping_action(self._connection.version)
                self._connection.request("POST", f"{self._path}/{action}")
            self._wait_for_end()


def _is_final(error: ServerError) -> bool:
    """Tell whether asking again would be answered the same."""
    status = error.status
    return status is not None and 400 <= status < 500 and status != HTTPStatus.TOO_MANY_REQUESTS  # noqa: PLR2004


def _is_being_prepared(error: ServerError) -> bool:
    """Tell whether a run is there, or the server silent, by the answer to the request for one."""
    busy = (HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS)
    return error.status in busy or is_silence(error)


def _end_of_silence(deadline: float) -> float:
    """Return when to give up a request for a run that is not answered."""
    return time.monotonic() + _LONGEST_SILENCE if deadline == math.inf else deadline


def _poll_timeout(deadline: float) -> float:
    return max(0.1, min(_POLL_TIMEOUT, deadline - time.monotonic()))


def _patience_with(error: ServerError, deadline: float) -> float:
    """Return the seconds of failing polls after which the run is given up."""
    if not is_silence(error):
        return _POLL_PATIENCE
    return _LONGEST_SILENCE if deadline == math.inf else math.inf
