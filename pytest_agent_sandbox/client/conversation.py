"""A conversation with a real agent on an agent server."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from pytest_agent_sandbox.client import versions
from pytest_agent_sandbox.client.asynchronous import AwaitableClosing, InThread
from pytest_agent_sandbox.client.callbacks import EventCallback
from pytest_agent_sandbox.client.conversation_calls import ConversationCalls
from pytest_agent_sandbox.client.conversation_endpoints import PATIENCE, Secret
from pytest_agent_sandbox.client.conversation_feed import ConversationFeed
from pytest_agent_sandbox.client.conversation_start import start_or_find
from pytest_agent_sandbox.client.conversation_verbs import ConversationVerbs
from pytest_agent_sandbox.client.conversation_workspace import ConversationWorkspace
from pytest_agent_sandbox.client.policies import ConfirmationPolicy, SecurityAnalyzer
from pytest_agent_sandbox.client.server_log import ServerLog
from pytest_agent_sandbox.client.skills import Skill
from pytest_agent_sandbox.client.transport import Guard, ServerConnection
from pytest_agent_sandbox.errors import ConversationClosed
from pytest_agent_sandbox.host.redaction import Redactor

# Seconds past a call's time to have the server delete a conversation that nobody gets.
_FORGET_GRACE = 0.3


class RemoteConversation(ConversationCalls, ConversationVerbs, AwaitableClosing):
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
        confirm: Which tool calls wait for `accept` or `reject`: all (`True`), none, the `"risky"`
            ones, or a policy as the server has it (`{"kind": "ConfirmRisky", …}`).
        security_analyzer: Who judges the risk: `"llm"`, the default for `"risky"`, where the LLM
            gives a `security_risk` with each call; `"pattern"`; `"policy_rail"`; or a dict.
        request: Further fields of the request that starts the conversation, as the server takes
            them (`tags`, `plugins`, `agent_definitions`, `tool_module_qualnames`, …).
        secrets: Values that the agent may use by name without ever seeing them, as
            `update_secrets` takes them.
        mcp_servers: MCP servers by name, for tools of theirs: `{"command": "…", "args": […]}` is
            started in the sandbox, `{"url": "…"}` reached from there.
        skills: Knowledge for the agent: `Skill("name", "content")`.
        hooks: Commands that the server runs in the sandbox at what the agent does, by event:
            `{"stop": "test -f DONE || exit 2"}`. Exit code 2 refuses it. The events are
            `session_start`, `user_prompt_submit`, `pre_tool_use`, `post_tool_use`, `stop` and
            `session_end`; a list of matchers, as the server has them, chooses by tool.
        guard: Asked while waiting, in addition to the workspace's.
        run_timeout: Seconds for a run that is given no timeout of its own; None for no limit.
        start_timeout: Seconds for all that the server is asked until the conversation is there.
        redactor: Masks what an error quotes of the server's log, and learns what `secrets` and
            `update_secrets` give, and credentials of MCP servers; one of its own by default.

    Raises:
        SettingsError: The agent, or what it is given, cannot be used.
        ServerError: The server refused, cannot be reached, or was not done in time.
    """

    def __init__(
        self,
        workspace: ConversationWorkspace,
        agent: object | None,
        *,
        conversation_id: str | None = None,
        callbacks: Sequence[EventCallback] = (),
        max_iterations: int = 100,
        confirm: ConfirmationPolicy = False,
        security_analyzer: SecurityAnalyzer | None = None,
        request: Mapping[str, Any] | None = None,
        secrets: Mapping[str, Secret] | None = None,
        mcp_servers: Mapping[str, Mapping[str, Any]] | None = None,
        skills: Sequence[Skill | Mapping[str, Any]] = (),
        hooks: Mapping[str, Any] | None = None,
        guard: Guard | None = None,
        run_timeout: float | None = None,
        start_timeout: float = PATIENCE,
        redactor: Redactor | None = None,
    ) -> None:
        #: Where the agent works.
        self.workspace = workspace
        self._agent = agent
        self._run_timeout = run_timeout
        self._redactor = redactor or Redactor()
        #: The conversations that were forked from this one; closed with it.
        self.forks: list[RemoteConversation] = []
        #: Whether the server is to forget the conversation when it is closed.
        self.delete_on_close = False
        self._guard = guard
        self._closed = threading.Event()
        end = time.monotonic() + start_timeout
        self._connection = self._own_connection(end)
        with self._connection.time.due(end, end=end):
            try:
                #: The conversation's id on the server.
                self.id = start_or_find(
                    self._connection,
                    workspace,
                    agent,
                    conversation_id=conversation_id,
                    max_iterations=max_iterations,
                    confirm=confirm,
                    security_analyzer=security_analyzer,
                    request=request,
                    mcp_servers=mcp_servers,
                    skills=skills,
                    hooks=hooks,
                    redactor=self._redactor,
                )
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
            self._feed.wait_until_ready(end)
            if secrets:
                self.update_secrets(secrets, timeout=end - time.monotonic())
        except BaseException:
            self.close()
            if agent is not None:  # nobody else is going to know of it
                self._forget(self.id, end)
            raise

    def _own_connection(self, end: float) -> ServerConnection:
        """Return a connection of its own, which ends its requests when this is closed."""
        shared = self.workspace.connection
        with shared.time.due(end, end=end):
            version = shared.version
        versions.warn_if_untested(version)
        return ServerConnection(
            shared.host,
            shared.api_key,
            guard=self._check_connection,
            explain_silence=shared.explain_silence,
            version=version,
        )

    def _forget(self, conversation_id: str, end: float) -> None:
        """Have the server forget a conversation that began and could not be had in time."""
        left = max(_FORGET_GRACE, end - time.monotonic())
        self.workspace.forget(conversation_id, timeout=left)

    @classmethod
    def attach(
        cls,
        workspace: ConversationWorkspace,
        conversation_id: str,
        *,
        callbacks: Sequence[EventCallback] = (),
        run_timeout: float | None = None,
        start_timeout: float = PATIENCE,
        guard: Guard | None = None,
    ) -> RemoteConversation:
        """Join a conversation that exists; the callbacks get its earlier events too.

        Args:
            workspace: Where the conversation's agent works.
            conversation_id: The conversation.
            callbacks: Called with each event.
            run_timeout: As for a new conversation.
            start_timeout: As for a new conversation.
            guard: Asked while waiting, in addition to the workspace's.

        Raises:
            ServerError: There is no such conversation, or the server did not answer in time.
        """
        return cls(
            workspace,
            None,
            conversation_id=conversation_id,
            callbacks=callbacks,
            run_timeout=run_timeout,
            start_timeout=start_timeout,
            guard=guard,
        )

    def fork(
        self,
        *,
        title: str | None = None,
        tags: Mapping[str, str] | None = None,
        from_event: str | None = None,
        callbacks: Sequence[EventCallback] = (),
        timeout: float = PATIENCE,
    ) -> RemoteConversation:
        """Return a new conversation with this one's history. Its costs begin at zero.

        A fork of a conversation that was attached to has its API keys only where the server was
        given a secret key (`OH_SECRET_KEY`) to keep them with.

        Args:
            title: Its title.
            tags: Its tags.
            from_event: Id of the last event that it has of the history; by default it has all.
            callbacks: Called with each event of the new conversation, the history included.
            timeout: Seconds for the server to make it and to send its events.

        Raises:
            ServerError: The server is too old for it (before 1.18), or was not done in time.
        """
        end = time.monotonic() + timeout
        with self._connection.time.within(timeout):
            fields = {"title": title, "tags": tags, "from_event_id": from_event}
            given = {name: value for name, value in fields.items() if value is not None}
            fork_id = self._endpoints.fork(self._agent, given)
        try:
            fork = RemoteConversation(
                self.workspace,
                None,
                conversation_id=fork_id,
                callbacks=callbacks,
                run_timeout=self._run_timeout,
                start_timeout=end - time.monotonic(),
                guard=self._guard,
                redactor=self._redactor,
            )
        except BaseException:  # nobody else is going to know of it
            self._forget(fork_id, end)
            raise
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
        is_first = not self._closed.is_set()
        self._closed.set()
        self._feed.close()
        if is_first and self.delete_on_close:
            self.workspace.forget(self.id)
        self._connection.close()

    # Their awaitable forms.
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
        status = "closed" if self._closed.is_set() else self.state.told_status or "new"
        return f"<RemoteConversation {self.id}: {status}, events: {len(self.events)}>"

    def _check_connection(self) -> None:
        if self._closed.is_set():
            raise ConversationClosed("The conversation has been closed.")
        self.workspace.connection.check()
