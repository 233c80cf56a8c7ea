"""A conversation with a real agent on an agent server."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from pydantic import BaseModel, SecretStr

from pytest_agent_sandbox.client import versions
from pytest_agent_sandbox.client.answers import an_id
from pytest_agent_sandbox.client.asynchronous import AwaitableClosing, InThread
from pytest_agent_sandbox.client.callbacks import EventCallback
from pytest_agent_sandbox.client.conversation_endpoints import PATIENCE, in_clear
from pytest_agent_sandbox.client.conversation_feed import ConversationFeed
from pytest_agent_sandbox.client.conversation_request import conversation_request
from pytest_agent_sandbox.client.conversation_state import (
    ConversationStats,
    TokenUsage,
)
from pytest_agent_sandbox.client.conversation_workspace import ConversationWorkspace
from pytest_agent_sandbox.client.server_log import ServerLog
from pytest_agent_sandbox.client.skills import Skill
from pytest_agent_sandbox.client.transport import Guard, ServerConnection
from pytest_agent_sandbox.errors import ServerError
from pytest_agent_sandbox.host.redaction import Redactor


class RemoteConversation(AwaitableClosing):
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
        workspace: ConversationWorkspace,
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
            #: The conversation's id on the server.
            self.id = an_id(info, "The start of a conversation")
        except BaseException:
            self._connection.close()
            raise
        self._feed = ConversationFeed(
            self._connection,
            self.id,
            callbacks,
            guard=guard,
            run_timeout=run_timeout,
            server_log=lambda: ServerLog(workspace.log_tail, self._redactor),
        )
        #: What the server told of the conversation's state.
        self.state = self._feed.state
        #: The conversation's events so far, in order.
        self.events = self._feed.events
        self._endpoints = self._feed.endpoints
        self._runs = self._feed.runs
        try:
            self._feed.wait_until_ready()
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
        workspace: ConversationWorkspace,
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

    def send_message(
        self, message: str | Mapping[str, Any] | BaseModel, *, timeout: float = PATIENCE
    ) -> None:
        """Say something to the agent, which answers when it is run.

        While a tool runs, the server takes a message only once the tool is done.

        Args:
            message: Text, or a message with `content` as the server has it.
            timeout: Seconds for the server to take it.

        Raises:
            ServerError: The server refused, or did not answer in time.
        """
        self._runs.is_agent_due = True
        self._endpoints.send(message, timeout)

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
        self._runs.run(timeout, blocking=blocking)

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
        self._runs.wait(timeout)

    def pause(self, *, timeout: float = PATIENCE) -> None:
        """Ask the agent to stop after its current step; `run` goes on from there.

        The server answers when a running tool is done. An agent that is waiting for its LLM
        may still finish.

        Args:
            timeout: Seconds for the server to answer.

        Raises:
            ServerError: The server refused, or did not answer in time.
        """
        self._endpoints.pause(timeout)

    def interrupt(self) -> None:
        """Stop the agent at once, in the middle of a tool if need be; `run` goes on from there.

        Raises:
            ServerError: The server is too old for it (before 1.23), or cannot be reached.
        """
        self._endpoints.interrupt()

    def accept(self, *, timeout: float = PATIENCE) -> None:
        """Confirm the tool calls that wait for it; `wait` waits for what comes of them.

        Args:
            timeout: Seconds for the server to answer.

        Raises:
            ServerError: The server refused, or did not answer in time.
        """
        end = time.monotonic() + timeout
        self._runs.expect(end)
        self._endpoints.accept(end - time.monotonic())

    def reject(
        self, reason: str = "The user rejected the action.", *, timeout: float = PATIENCE
    ) -> None:
        """Refuse the tool calls that wait for confirmation; `run` lets the agent react to it.

        Args:
            reason: What the agent is told.
            timeout: Seconds for the server to answer.

        Raises:
            ServerError: The server refused, or did not answer in time.
        """
        self._runs.is_agent_due = True
        self._endpoints.reject(reason, timeout)

    def update_secrets(self, secrets: Mapping[str, str | SecretStr]) -> None:
        """Give the agent values that it may use by name without ever seeing them.

        Args:
            secrets: Values by name. A value that is there already is replaced.

        Raises:
            SettingsError: A value is no text.
        """
        clear = in_clear(secrets)
        self._redactor.add(*clear.values())
        self._endpoints.set_secrets(clear)

    def fork(self, *, callbacks: Sequence[EventCallback] = ()) -> RemoteConversation:
        """Return a new conversation with this one's history. Its costs begin at zero.

        A fork of a conversation that was attached to has its API keys only where the server was
        given a secret key (`OH_SECRET_KEY`) to keep them with.

        Args:
            callbacks: Called with each event of the new conversation, the history included.

        Raises:
            ServerError: The server is too old for it (before 1.18), or cannot be reached.
        """
        fork = RemoteConversation(
            self.workspace,
            None,
            conversation_id=self._endpoints.fork(self._agent),
            callbacks=callbacks,
            run_timeout=self._run_timeout,
            guard=self._guard,
            redactor=self._redactor,
        )
        self.forks.append(fork)
        return fork

    def check_callbacks(self, patience: float = 1.0) -> None:
        """Raise what a callback raised, where neither `run` nor `wait` did so yet.

        Args:
            patience: Seconds that callbacks may still spend on a single event.

        Raises:
            BaseException: The callback's own error, such as a failed assertion.
        """
        error = self._feed.take_callback_error(patience)
        if error is not None:
            raise error

    def close(self) -> None:
        """Let go of the conversation, within 100 ms; an agent at work is not stopped by it.

        Events that the callbacks did not get to by then are dropped. May be called more than once.
        """
        for fork in self.forks:
            fork.close()
        self._closed.set()
        self._feed.close()
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        callback_error = self._feed.take_callback_error()
        if callback_error is not None and error is None:
            raise callback_error

    def __repr__(self) -> str:
        return f"<RemoteConversation {self.id}>"

    def _check_connection(self) -> None:
        if self._closed.is_set():
            raise ServerError("The conversation has been closed.")
        self.workspace.connection.check()
