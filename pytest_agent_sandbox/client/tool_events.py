"""The events of tool calls: the call, its result or why there is none, and an ACP agent's news."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field

from pytest_agent_sandbox.client.acp_content import acp_text
from pytest_agent_sandbox.client.event_base import Content, Event, Observation, joined_text

#: The call of a tool of an MCP server, whose arguments are one of its fields.
_MCP_ACTION = "MCPToolAction"


class ActionEvent(Event):
    """The agent's call of a tool."""

    tool_name: str
    tool_call_id: str
    #: The call as the tool understood it; None where it did not.
    action: dict[str, Any] | None = None
    #: The call as the LLM wrote it.
    tool_call: dict[str, Any] = Field(default_factory=dict)
    thought: list[Content] = Field(default_factory=list)
    reasoning_content: str | None = None
    security_risk: str | None = None
    summary: str | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """The call's arguments: as the tool understood them, or else as the LLM wrote them."""
        if self.action is not None:
            of_mcp = self.action.get("data") if self.action.get("kind") == _MCP_ACTION else None
            if isinstance(of_mcp, dict):
                return of_mcp
            return {name: value for name, value in self.action.items() if name != "kind"}
        try:
            written = json.loads(self.tool_call.get("arguments", ""))
        except (TypeError, ValueError):
            return {}
        return written if isinstance(written, dict) else {}

    @property
    def text(self) -> str:
        """What the agent said along with the call."""
        return joined_text(self.thought)

    def _headline(self) -> str:
        return f"{self.tool_name} {json.dumps(self.arguments, ensure_ascii=False)}"


class ObservationEvent(Event):
    """A tool's result."""

    tool_name: str
    tool_call_id: str
    action_id: str
    observation: Observation

    @property
    def text(self) -> str:
        """The result's text."""
        return joined_text(self.observation.content)

    @property
    def is_error(self) -> bool:
        """Whether the tool reported a failure. A command's exit code alone is none."""
        return self.observation.is_error

    def _headline(self) -> str:
        return f"{self.tool_name}: {self.text}"


class UserRejectObservation(Event):
    """The user's refusal of a tool call that waited for confirmation."""

    tool_name: str
    tool_call_id: str
    action_id: str
    rejection_reason: str = ""

    @property
    def text(self) -> str:
        """The reason."""
        return self.rejection_reason


class AgentErrorEvent(Event):
    """A tool call that could not be carried out. The agent is told, and may do better."""

    error: str
    tool_name: str = ""
    tool_call_id: str = ""

    @property
    def text(self) -> str:
        """What was wrong."""
        return self.error

    @property
    def is_error(self) -> bool:
        """Always."""
        return True


class ACPToolCallEvent(Event):
    """News of a tool call of an ACP agent; a call has several, `EventLog.tool_calls` joins them."""

    tool_call_id: str
    title: str = ""
    status: str | None = None
    tool_kind: str | None = None
    raw_input: Any = None
    raw_output: Any = None
    content: list[Any] | None = None
    failed: bool = Field(default=False, alias="is_error")

    @property
    def tool_name(self) -> str:
        """The kind of the tool (`execute`, `edit`); where that says nothing, the call's title."""
        return self.title if self.tool_kind in (None, "", "other") else str(self.tool_kind)

    @property
    def has_ended(self) -> bool:
        """Whether this is the last news of the call."""
        return self.status in ("completed", "failed")

    @property
    def is_error(self) -> bool:
        """Whether the call failed."""
        return self.failed

    @property
    def text(self) -> str:
        """The result: as a text where the agent gave one, else as JSON."""
        output = self.raw_output
        if isinstance(output, dict):  # as Codex has it
            output = output.get("formatted_output")
        if isinstance(output, str) and output:
            return output
        shown = acp_text(self.content or [])
        if shown or self.raw_output is None:
            return shown
        return json.dumps(self.raw_output, ensure_ascii=False)

    def _headline(self) -> str:
        return f"{self.title} {self.status or ''}"
