"""`expect`: the beginning of all expectations of a conversation or a workspace."""

from __future__ import annotations

from typing import overload

from pytest_agent_sandbox.client.conversation import RemoteConversation
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.expectations.conversation import ConversationExpectation
from pytest_agent_sandbox.expectations.workspace import WorkspaceExpectation


@overload
def expect(subject: RemoteConversation) -> ConversationExpectation: ...


@overload
def expect(subject: RemoteWorkspace) -> WorkspaceExpectation: ...


def expect(
    subject: RemoteConversation | RemoteWorkspace,
) -> ConversationExpectation | WorkspaceExpectation:
    """Begin a sentence about what an agent did, or what is in a workspace.

    If it does not hold, the error says what came nearest.

    Example:
        ```python
        expect(conversation).called_tool("terminal", command="ls").never_called("browser_navigate")
        expect(agent_workspace).changed_files({"FACTS.txt": "added"})
        ```

    Args:
        subject: A conversation, judged by its events so far, or a workspace as it is now.

    Raises:
        SettingsError: The subject is neither.
    """
    if isinstance(subject, RemoteConversation):
        return ConversationExpectation(subject)
    if isinstance(subject, RemoteWorkspace):
        return WorkspaceExpectation(subject)
    raise SettingsError(
        f"expect() takes a conversation or a workspace, not {type(subject).__name__}"
    )
