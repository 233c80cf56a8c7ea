"""A conversation with a real agent on an agent server."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any, Protocol

from pydantic import BaseModel, SecretStr

from pytest_agent_sandbox.client import versions
from pytest_agent_sandbox.client.agents import agent_payload
from pytest_agent_sandbox.client.answers import an_id, an_object
from pytest_agent_sandbox.client.asynchronous import CallerGone, InThread, finish_in_thread
from pytest_agent_sandbox.client.callbacks import CallbackDispatcher, EventCallback
from pytest_agent_sandbox.client.conversation_request import conversation_request
from pytest_agent_sandbox.client.event_log import EventLog
from pytest_agent_sandbox.client.events import ConversationStateUpdateEvent, Event
from pytest_agent_sandbox.client.runs import Run
from pytest_agent_sandbox.client.server_log import ServerLog
from pytest_agent_sandbox.client.skills import Skill
from pytest_agent_sandbox.client.state import (
    ConversationState,
    ConversationStats,
    ExecutionStatus,
    TokenUsage,
)
from pytest_agent_sandbox.client.stream import EventStream
from pytest_agent_sandbox.client.transport import GUARD_INTERVAL, Guard, ServerConnection
from pytest_agent_sandbox.errors import SandboxError, ServerError, SettingsError
from pytest_agent_sandbox.host.redaction import Redactor

#: Seconds for the event stream to come up.
_READY_TIMEOUT = 30.0
#: Seconds for an interrupt to be answered: the server itself waits five for the run to stop.
_INTERRUPT_TIMEOUT = 10.0
#: Seconds that a callback may spend on one event before a run's end no longer waits for it.
_CALLBACK_PATIENCE = 30.0
#: The same, where the run failed and the callbacks do not matter any more.
_FAILED_CALLBACK_PATIENCE = 0.5
#: Seconds for the callbacks to come to an end when the conversation is closed.
_CLOSE_PATIENCE = 0.03


class Workspace(Protocol):
    """What a conversation needs of its workspace."""

    @property
    def connection(self) -> ServerConnection:
        """The way to the server."""

    @property
    def working_dir(self) -> str:
        """Where the agent works."""

    @property
    def has_desktop(self) -> bool:
        """Whether there is a desktop for the agent's browser to show on."""

    def log_tail(self, lines: int) -> str:
        """The last lines of the server's log; none where it is out of reach."""

    def forget(self, conversation_id: str) -> None:
        """Have the server delete a conversation."""


class RemoteConversation:
    """A conversation between a test and an agent.

    Example:
        ```python
        with RemoteConversation(workspace, default_agent(llm)) as conversation:
            conversation.send_message("Write a haiku to haiku.txt.")
            conversation.run(timeout=120)
            assert conversation.status == "finished"
        ```

    Callbacks get every event, those included that the server does not keep (whole states, streamed
    pieces of a reply), in order and once, on a thread of their own. When `run` or `wait` return
    they had all that the run brought. What a callback raises, such as a failed assertion, ends
    neither the run nor the callbacks; `run` or `wait` raise it once the run is over.

    Args:
        workspace: Where the agent works.
        agent: Our `Agent`, an `acp_agent`, a dict of the server's own making, or an openhands.sdk
            `Agent`. None attaches to a conversation that exists.
        conversation_id: The id to give to the conversation, or of the one to attach to.
        callbacks: Called with each event.
        max_iterations: The most steps the agent may take in one run.
        confirm: Let every tool call wait for `accept` or `reject`.
        secrets: Values that the agent may use by name without ever seeing them.
        mcp_servers: MCP servers by name, for tools of theirs: `{"command": "…", "args": […]}` is
            started in the sandbox, `{"url": "…"}` reached from there.
        skills: Knowledge for the agent: `Skill("name", "content")`.
        hooks: Commands that the server runs in the sandbox at what the agent does, by event:
            `{"stop": "test -f DONE || exit 2"}`. Exit code 2 refuses it. The events are
            `session_start`, `user_prompt_submit`, `pre_tool_use`, `post_tool_use`, `stop` and
            `session_end`; a list of matchers, as the server has them, chooses by tool.
        guard: Asked while waiting, in addition to the workspace's.
        run_timeout: Seconds for a run that is given no timeout of its own; None for no limit.
        redactor: Masks what an error quotes of the server's log, and learns each value that
            `secrets` and `update_secrets` give; one of the conversation's own by default.

    Raises:
        SettingsError: The agent, or what it is given, cannot be used.
        ServerError: The server refused, or cannot be reached.
    """

    def __init__(
        self,
        workspace: Workspace,
        agent: object | None,
        *,
        conversation_id: str | None = None,
        callbacks: Sequence[EventCallback] = (),
        max_iterations: int = 100,
        confirm: bool = False,
        secrets: Mapping[str, str | SecretStr] | None = None,
        mcp_servers: Mapping[str, Mapping[str, Any]] | None = None,
        skills: Sequence[Skill | Mapping[str, Any]] = (),
        hooks: Mapping[str, Any] | None = None,
        guard: Guard | None = None,
        run_timeout: float | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        #: Where the agent works.
        self.workspace = workspace
        self._agent = agent
        self._run_timeout = run_timeout
        self._redactor = redactor or Redactor()
        #: The conversations that were forked from this one; closed with it.
        self.forks: list[RemoteConversation] = []
        self._guard = guard
        self._closed = threading.Event()
        self._run: Run | None = None
        self._unanswered = False
        shared = workspace.connection
        versions.warn_if_untested(shared.version)
        # A connection of its own ends its requests when the conversation is closed.
        self._connection = ServerConnection(
            shared.host,
            shared.api_key,
            guard=self._check_connection,
            explain_silence=workspace.connection.explain_silence,
            version=shared.version,
        )
        try:
            if agent is None:
                info = self._connection.get_json(f"/api/conversations/{conversation_id}")
            else:
                body = conversation_request(
                    self._connection,
                    agent,
                    working_dir=workspace.working_dir,
                    has_desktop=workspace.has_desktop,
                    conversation_id=conversation_id,
                    max_iterations=max_iterations,
                    confirm=confirm,
                    mcp_servers=mcp_servers,
                    skills=skills,
                    hooks=hooks,
                )
                info = self._connection.post_json("/api/conversations", body)
        except BaseException:
            self._connection.close()
            raise
        #: The conversation's id on the server.
        try:
            self.id = an_id(info, "The start of a conversation")
        except ServerError:
            self._connection.close()
            raise
        #: What the server told of the conversation's state.
        self.state = ConversationState(self.id, self._fetch)
        #: The conversation's events so far, in order.
        self.events = EventLog()
        self._dispatcher = CallbackDispatcher(callbacks, name=f"event-callbacks-{self.id}")
        self._stream = EventStream(self._connection, self.id, self.events, self._receive)
        self._stream.start()
        try:
            self._await_stream()
            if secrets:
                self.update_secrets(secrets)
        except BaseException:
            self.close()
            if agent is not None:  # nobody else is going to know of it
                workspace.forget(self.id)
            raise

    @classmethod
    def attach(
        cls,
        workspace: Workspace,
        conversation_id: str,
        *,
        callbacks: Sequence[EventCallback] = (),
        run_timeout: float | None = None,
        guard: Guard | None = None,
    ) -> RemoteConversation:
        """Join a conversation that exists; the callbacks get its earlier events too.

        Args:
            workspace: Where the conversation's agent works.
            conversation_id: The conversation.
            callbacks: Called with each event.
            run_timeout: As for a new conversation.
            guard: Asked while waiting, in addition to the workspace's.

        Raises:
            ServerError: There is no such conversation, or the server cannot be reached.
        """
        return cls(
            workspace,
            None,
            conversation_id=conversation_id,
            callbacks=callbacks,
            run_timeout=run_timeout,
            guard=guard,
        )

    @property
    def status(self) -> str:
        """What the conversation is doing: an `ExecutionStatus`, which equals its text."""
        return self.state.execution_status

    @property
    def conversation_stats(self) -> ConversationStats:
        """What the conversation has cost so far, by the usage ids of its LLMs."""
        return self.state.stats

    @property
    def cost(self) -> float:
        """What the conversation has cost so far, in US dollars; 0 for an LLM of unknown price."""
        return self.state.stats.get_combined_metrics().accumulated_cost

    @property
    def tokens(self) -> TokenUsage:
        """How many tokens the conversation has used so far."""
        return self.state.stats.get_combined_metrics().accumulated_token_usage

    def send_message(self, message: str | Mapping[str, Any] | BaseModel) -> None:
        """Say something to the agent, which answers when it is run.

        While a tool runs, the server takes a message only once the tool is done.

        Args:
            message: Text, or a message with `content` as the server has it.

        Raises:
            ServerError: The server refused, or cannot be reached.
        """
        if isinstance(message, str):
            content: Any = [{"type": "text", "text": message}]
        else:
            fields = message.model_dump(mode="json") if isinstance(message, BaseModel) else message
            content = fields["content"]
        self._unanswered = True
        self._post("events", {"role": "user", "content": content, "run": False})

    def run(self, blocking: bool = True, timeout: float | None = None) -> None:
        """Let the agent work until it is done.

        Where the conversation waits for a confirmation, this is the confirmation. Where the agent
        is at work already, this joins it.

        Args:
            blocking: False to return as soon as the agent is at work; `wait` waits for it then.
            timeout: Seconds for the agent to be done; the conversation's `run_timeout` by default.
                A run that takes longer is interrupted, so that it does not go on spending.

        Raises:
            ConversationFailed: The run ended in `error` or `stuck`.
            ConversationTimeout: The run did not end in time.
            ServerError: The server refused, or no longer answers.
            SandboxError: Whatever a guard knows to have made waiting pointless.
        """
        deadline = self._deadline(timeout)
        with self._interrupted_where_cancelled(), self._connection.due(deadline):
            while True:
                run = self._new_run(deadline)
                run.start(deadline)
                if not blocking:
                    return
                status = self._await_end(run, deadline)
                if not (run.joined and status == ExecutionStatus.IDLE):
                    return
                # The run that was joined ended before it read the latest message: here is the next.

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the agent is done, where it is at work.

        Args:
            timeout: Seconds for the agent to be done; the conversation's `run_timeout` by default.
                A run that takes longer is interrupted, so that it does not go on spending.

        Raises:
            ConversationFailed: The run ended in `error` or `stuck`.
            ConversationTimeout: The run did not end in time.
            ServerError: The server no longer answers.
            SandboxError: Whatever a guard knows to have made waiting pointless.
        """
        deadline = self._deadline(timeout)
        run = self._run
        if run is None:
            # A run that somebody else began. The watch comes first, as always.
            run = self._new_run(deadline)
            if self._fetch(deadline).get("execution_status") != ExecutionStatus.RUNNING:
                self._run = None
                return
            run.watch.saw_running()
        with self._interrupted_where_cancelled(), self._connection.due(deadline):
            self._await_end(run, deadline)

    def pause(self) -> None:
        """Ask the agent to stop after its current step; `run` goes on from there.

        The server answers when a running tool is done. An agent that is waiting for its LLM
        may still finish.
        """
        self._post("pause")

    def interrupt(self) -> None:
        """Stop the agent at once, in the middle of a tool if need be; `run` goes on from there.

        Raises:
            ServerError: The server is too old for it (before 1.23), or cannot be reached.
        """
        self._require("interrupt a run", versions.INTERRUPT)
        self._connection.request("POST", self._path("interrupt"), timeout=_INTERRUPT_TIMEOUT)

    def accept(self) -> None:
        """Confirm the tool calls that wait for it; `wait` waits for what comes of them."""
        self._new_run()
        self._post("events/respond_to_confirmation", {"accept": True})

    def reject(self, reason: str = "The user rejected the action.") -> None:
        """Refuse the tool calls that wait for confirmation; `run` lets the agent react to it.

        Args:
            reason: What the agent is told.
        """
        # The agent has something to react to now, even if it had finished.
        self._unanswered = True
        self._post("events/respond_to_confirmation", {"accept": False, "reason": reason})

    def update_secrets(self, secrets: Mapping[str, str | SecretStr]) -> None:
        """Give the agent values that it may use by name without ever seeing them.

        Args:
            secrets: Values by name. A value that is there already is replaced.

        Raises:
            SettingsError: A value is no text.
        """
        clear = {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in secrets.items()
        }
        for name, value in clear.items():
            if not isinstance(value, str):
                raise SettingsError(
                    f"secrets={{{name!r}: …}} takes text, not {type(value).__name__}"
                )
        self._redactor.add(*clear.values())
        self._post("secrets", {"secrets": clear})

    def fork(self, *, callbacks: Sequence[EventCallback] = ()) -> RemoteConversation:
        """Return a new conversation with this one's history. Its costs begin at zero.

        A fork of a conversation that was attached to has its API keys only where the server was
        given a secret key (`OH_SECRET_KEY`) to keep them with.

        Args:
            callbacks: Called with each event of the new conversation, the history included.

        Raises:
            ServerError: The server is too old for it (before 1.18), or cannot be reached.
        """
        self._require("fork a conversation", versions.FORK)
        fork_id = an_id(self._post("fork", {}), "The fork of a conversation")
        if not versions.has(self._connection.version, versions.FORK_KEEPS_SETTINGS):
            # It would ask its LLM for a title, as it has none.
            self._connection.request(
                "PATCH", f"/api/conversations/{fork_id}", json={"title": "Fork"}
            )
        llm = agent_payload(self._agent).get("llm") if self._agent is not None else None
        if llm is not None and versions.has(self._connection.version, versions.SWITCH_LLM):
            # A server without a secret key of its own copies the agent without its API keys.
            self._connection.post_json(f"/api/conversations/{fork_id}/switch_llm", {"llm": llm})
        fork = RemoteConversation.attach(
            self.workspace,
            fork_id,
            callbacks=callbacks,
            run_timeout=self._run_timeout,
            guard=self._guard,
        )
        fork._redactor = self._redactor  # it has the secrets, too
        self.forks.append(fork)
        return fork

    def check_callbacks(self, patience: float = 1.0) -> None:
        """Raise what a callback raised, where neither `run` nor `wait` did so yet.

        Args:
            patience: Seconds that callbacks may still spend on a single event.

        Raises:
            BaseException: The callback's own error, such as a failed assertion.
        """
        self._dispatcher.flush(patience)
        error = self._dispatcher.take_error()
        if error is not None:
            raise error

    def close(self) -> None:
        """Let go of the conversation, within 100 ms; an agent at work is not stopped by it.

        Events that the callbacks did not get to by then are dropped. May be called more than once.
        """
        for fork in self.forks:
            fork.close()
        self._closed.set()
        self._stream.close()
        self._dispatcher.close(_CLOSE_PATIENCE)
        self._connection.close()

    # Their awaitable forms. Where `arun` or `await_end` are cancelled, the agent is interrupted.
    asend_message = InThread(send_message)
    arun = InThread(run)
    await_end = InThread(wait)  # "await" is taken
    apause = InThread(pause)
    ainterrupt = InThread(interrupt)
    aaccept = InThread(accept)
    areject = InThread(reject)
    aupdate_secrets = InThread(update_secrets)
    afork = InThread(fork)
    acheck_callbacks = InThread(check_callbacks)
    aclose = InThread(close, finishes=True)

    def __enter__(self) -> RemoteConversation:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        error = self._dispatcher.take_error()
        if error is not None and exc is None:
            raise error

    async def __aenter__(self) -> RemoteConversation:
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await finish_in_thread(partial(self.__exit__, *raised))

    def __repr__(self) -> str:
        return f"<RemoteConversation {self.id}>"

    @contextmanager
    def _interrupted_where_cancelled(self) -> Iterator[None]:
        try:
            yield
        except CallerGone:
            with suppress(SandboxError):
                action = versions.stopping_action(self._connection.version)
                self._connection.request("POST", self._path(action), timeout=_INTERRUPT_TIMEOUT)
            raise

    def _await_stream(self) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT
        while not self._stream.wait_until_ready(GUARD_INTERVAL):
            self._check()
            if time.monotonic() > deadline:
                raise ServerError(
                    f"The server did not send the events of conversation {self.id} within "
                    f"{_READY_TIMEOUT:.0f} s."
                )

    def _new_run(self, deadline: float = math.inf) -> Run:
        status = self.state.told_status or self._fetch(deadline).get("execution_status")
        run = Run(
            self._connection,
            self.state,
            self.events,
            self._stream,
            check=self._check,
            will_run=self._unanswered or status != ExecutionStatus.FINISHED,
            server_log=ServerLog(self.workspace.log_tail, self._redactor),
        )
        self._unanswered = False
        self._run = run
        return run

    def _await_end(self, run: Run, deadline: float) -> str:
        """Wait for a run's end and return its status; raise what it or a callback raised."""
        try:
            status = run.wait(deadline)
        except SandboxError as error:
            self._dispatcher.flush(_FAILED_CALLBACK_PATIENCE)
            raise error from self._dispatcher.take_error()
        self._dispatcher.flush(_CALLBACK_PATIENCE)
        callback_error = self._dispatcher.take_error()
        if callback_error is not None:
            raise callback_error
        return status

    def _receive(self, event: Event, opening: bool) -> None:
        if isinstance(event, ConversationStateUpdateEvent):
            self.state.apply(event)
        run = self._run
        if run is not None:
            run.observe(event, opening=opening)
        self._dispatcher.put(event)

    def _check(self) -> None:
        """Raise the reason when waiting has become pointless."""
        self._check_connection()
        self._stream.check()
        if self._guard is not None:
            self._guard()

    def _check_connection(self) -> None:
        if self._closed.is_set():
            raise ServerError("The conversation has been closed.")
        self.workspace.connection.check()

    def _require(self, what: str, since: tuple[int, int]) -> None:
        version = self._connection.version
        if not versions.has(version, since):
            raise ServerError(versions.lacking(version, what, since))

    def _fetch(self, deadline: float = math.inf) -> dict[str, Any]:
        path = self._path()
        answer = self._connection.request("GET", path, retry=True, deadline=deadline)
        return an_object(self._connection.decoded(answer), path)

    def _post(self, action: str, body: Any = None) -> Any:
        return self._connection.post_json(self._path(action), body)

    def _deadline(self, timeout: float | None) -> float:
        timeout = self._run_timeout if timeout is None else timeout
        return math.inf if timeout is None else time.monotonic() + timeout

    def _path(self, action: str = "") -> str:
        return f"/api/conversations/{self.id}/{action}".rstrip("/")
