"""The trajectory of an agent, as text that is the same in each run in which it did the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pytest_agent_sandbox.client.events import ActionEvent, Event, MessageEvent
from pytest_agent_sandbox.expectations.conversation import given_arguments
from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser

if TYPE_CHECKING:
    from pytest_agent_sandbox.client.conversation import RemoteConversation
    from pytest_agent_sandbox.client.event_log import ToolCall

#: Lines of a tool's result that count: what a tool prints at length is seldom the point.
_MOST_LINES = 10


def trajectory(
    conversation: RemoteConversation, normalise: Callable[[str], str] | None = None
) -> str:
    """Return the steps of a conversation: who said what, the tool calls and their results.

    Dates, durations, ids, ports, temporary paths and the like are replaced by names, so that two
    runs in fresh sandboxes give the same text.

    Args:
        conversation: The conversation, as far as it has gone.
        normalise: Replaces them by names; by default as cassettes do, without the sandbox's own
            host name.
    """
    normalise = normalise or Normaliser()
    calls = {call.action.id: call for call in conversation.events.tool_calls()}
    lines: list[str] = []
    for event in conversation.events:
        lines += _event_lines(event, calls)
    lines.append(f"status: {conversation.status}")
    return "\n".join(line.rstrip() for line in normalise("\n".join(lines)).splitlines()) + "\n"


def _event_lines(event: Event, calls: dict[str, ToolCall]) -> Iterator[str]:
    if isinstance(event, MessageEvent):
        yield from _block(f"{event.source}:", event.text)
    if event.id not in calls:
        return
    call = calls[event.id]
    if isinstance(event, ActionEvent) and event.text:
        yield from _block("agent:", event.text)
    yield f"tool: {call.name}"
    for name, value in sorted(given_arguments(call).items()):
        yield from _block(f"  {name}:", str(value), indent="    ")
    if call.result is not None:
        result = call.result.splitlines()
        yield from _block(
            "  failed:" if call.is_error else "  result:",
            "\n".join(result[:_MOST_LINES]),
            indent="    ",
        )
        if len(result) > _MOST_LINES:
            yield "    …"


def _block(head: str, text: str, indent: str = "  ") -> Iterator[str]:
    lines = text.splitlines()
    if len(lines) <= 1:
        yield f"{head} {text}"
        return
    yield head
    yield from (indent + line for line in lines)
