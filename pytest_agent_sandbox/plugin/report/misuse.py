"""What a workspace was mistaken for, where another library's error does not say so."""

from __future__ import annotations

import sys
import traceback

from pytest_agent_sandbox.client.workspace import RemoteWorkspace

_SDK = "openhands.sdk"
_NOTE = (
    "openhands-sdk was given a workspace of pytest-agent-sandbox. It takes one of its own: "
    "Conversation(workspace=agent_workspace.as_openhands())."
)


def explain(error: BaseException) -> None:
    """Say what openhands-sdk takes, where it failed on a workspace of ours.

    Args:
        error: What a test raised.
    """
    if _SDK not in sys.modules:
        return
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name = str(frame.f_globals.get("__name__", ""))
        if name.startswith(f"{_SDK}.") and isinstance(
            frame.f_locals.get("workspace"), RemoteWorkspace
        ):
            error.add_note(_NOTE)
            return
