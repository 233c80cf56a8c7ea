"""Scripted tool calls for clients that offer no tools, in tests that are about something else."""

from __future__ import annotations

from typing import Any

from pytest_agent_sandbox.llm import replies


def tool(name: str, /, **arguments: Any) -> replies.ScriptedToolCall:
    """Return a tool call that is not compared with the tools of the request."""
    return replies.unchecked(replies.tool(name, **arguments))
