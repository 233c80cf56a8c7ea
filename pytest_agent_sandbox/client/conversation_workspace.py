"""The workspace that a conversation's agent works in, as far as the conversation needs it."""

from __future__ import annotations

from typing import Protocol

from pytest_agent_sandbox.client.transport import ServerConnection


class ConversationWorkspace(Protocol):
    """A workspace, as far as a conversation knows it."""

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
        """Return the last lines of the server's log; none where it is out of reach."""

    def forget(self, conversation_id: str, *, timeout: float = 10.0) -> None:
        """Have the server delete a conversation."""
