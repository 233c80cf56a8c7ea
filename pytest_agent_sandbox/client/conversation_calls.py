"""What a test says to a conversation and asks of it, once there is one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from pytest_agent_sandbox.client.asynchronous import InThread
from pytest_agent_sandbox.client.conversation_endpoints import (
    INTERRUPT_TIMEOUT,
    PATIENCE,
    ConversationEndpoints,
    Secret,
    in_clear,
    secret_texts,
)
from pytest_agent_sandbox.client.conversation_runs import ConversationRuns
from pytest_agent_sandbox.client.conversation_state import (
    ConversationState,
    ConversationStats,
    TokenUsage,
)
from pytest_agent_sandbox.host.redaction import Redactor


class ConversationCalls:
    """A conversation that is talked to, run and watched.

    What its properties tell has mostly come with the events; where it has not, the server is asked,
    which has 600 s to answer.

    Attributes:
        state: What the server told of the conversation's state.
    """

    state: ConversationState
    _endpoints: ConversationEndpoints
    _runs: ConversationRuns
    _redactor: Redactor

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
        """What the conversation has cost so far, in US dollars.

        By LiteLLM's price list, for scripted and replayed calls too: `agent_llm.script([…],
        model="openai/gpt-5-mini")` costs what that model does. For a model that is not on the list
        it is not a number, so that no assertion about it holds; its text says why.
        """
        return self.state.stats.cost

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
        is_running = self._runs.is_under_way
        self._runs.turn.is_agent_due = True  # also if only the server's answer is lost
        self._endpoints.send(message, timeout)
        self._runs.turn.sent(message, is_running=is_running)

    def run(self, blocking: bool = True, timeout: float | None = None) -> None:
        """Let the agent work until it is done.

        Where the conversation waits for a confirmation, this is the confirmation. Where the agent
        is at work already, this joins it.

        Args:
            blocking: False to return as soon as the agent is at work; `wait` waits for it then.
            timeout: Seconds for the agent to be done; the conversation's `run_timeout` by default.
                A run that takes longer is interrupted, so that it does not go on spending.

        Raises:
            ConversationMisused: There is nothing to do: no message yet, or none since the agent
                finished.
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

    def check_messages(self) -> None:
        """Raise if a message was sent and never run. At the end of a test, the plugin does so.

        Raises:
            ConversationMisused: It was.
        """
        self._runs.turn.check_messages()

    def pause(self, *, timeout: float = PATIENCE) -> None:
        """Ask the agent to stop after its current step; `run` goes on from there.

        The server answers when a running tool is done. An agent that is waiting for its LLM
        may still finish.

        Args:
            timeout: Seconds for the server to answer.

        Raises:
            ServerError: The server refused, or did not answer in time.
        """
        self._runs.turn.is_open = True
        self._endpoints.pause(timeout)

    def interrupt(self, *, timeout: float = INTERRUPT_TIMEOUT) -> None:
        """Stop the agent at once, in the middle of a tool if need be; `run` goes on from there.

        Args:
            timeout: Seconds for the server to answer.

        Raises:
            ServerError: The server is too old for it (before 1.23), or did not answer in time.
        """
        self._runs.turn.is_open = True
        self._endpoints.interrupt(timeout)

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
        self._runs.turn.is_agent_due = True
        self._endpoints.reject(reason, timeout)

    def update_secrets(self, secrets: Mapping[str, Secret], *, timeout: float = PATIENCE) -> None:
        """Give the agent values that it may use by name without ever seeing them.

        Args:
            secrets: Values by name; or where the server looks one up when it is needed:
                `{"url": "http://…", "headers": {…}}`. What it finds there is not masked in reports.
                A value that is there already is replaced.
            timeout: Seconds for the server to take them.

        Raises:
            SettingsError: A value is neither text nor a lookup.
            ServerError: The server refused, or did not answer in time.
        """
        clear = in_clear(secrets)
        self._redactor.add(*secret_texts(clear))
        self._endpoints.set_secrets(clear, timeout)

    # Their awaitable forms. Where `arun` or `await_end` are cancelled, the agent is interrupted.
    asend_message = InThread(send_message)
    arun = InThread(run)
    await_end = InThread(wait)  # "await" is taken
    apause = InThread(pause)
    ainterrupt = InThread(interrupt)
    aaccept = InThread(accept)
    areject = InThread(reject)
    aupdate_secrets = InThread(update_secrets)
