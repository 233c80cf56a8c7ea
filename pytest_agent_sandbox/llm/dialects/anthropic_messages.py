"""Anthropic messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_agent_sandbox.llm.dialects.dialect import (
    Dialect,
    dump,
    number,
    objects,
    pieces,
    stated_cost,
    usage_of,
)
from pytest_agent_sandbox.llm.replies import LLMRequest, Reply, Usage
from pytest_agent_sandbox.llm.sse import ServerSentEvent, encode_event

_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_FIRST_SERVER_ERROR = 500
#: The tokens that were put into the cache for an hour, not for five minutes.
_FOR_AN_HOUR = "ephemeral_1h_input_tokens"
_LAST_TYPES = ("message_stop", "error")

#: Types of the tools that the client runs: its own, and the prefixes of those made by Anthropic.
_OWN_TOOLS = (None, "custom")
_CLIENT_TOOLS = (
    "bash_",
    "browser_toolset_",
    "computer_",
    "memory_",
    "text_editor_",
    "tool_search_tool_",
)


class AnthropicMessages(Dialect):
    """`POST /messages`."""

    name = "anthropic-messages"
    path = "/messages"
    counting = "/messages/count_tokens"
    turns = "messages"

    def completion(self, request: LLMRequest, reply: Reply, label: str) -> dict[str, Any]:
        """Return a `message` object."""
        return {
            "id": f"msg_{label}",
            "type": "message",
            "role": "assistant",
            "model": request.model,
            "content": _content(reply, label),
            "stop_reason": _stop_reason(reply),
            "stop_sequence": None,
            "usage": _usage(usage_of(request, reply)),
        }

    def stream(self, request: LLMRequest, reply: Reply, label: str) -> Iterator[bytes]:
        """Yield the named events that add up to the same object."""
        for event in _events(self.completion(request, reply, label)):
            yield encode_event(event, event["type"])

    def error(self, status: int, message: str) -> dict[str, Any]:
        """Return the body of an error."""
        default = "api_error" if status >= _FIRST_SERVER_ERROR else "invalid_request_error"
        kind = _ERROR_TYPES.get(status, default)
        return {"type": "error", "error": {"type": kind, "message": message}}

    def usage(self, content: Mapping[str, Any], so_far: Usage | None) -> Usage | None:
        """Return the tokens of a whole answer, or of the first and last events of a stream."""
        message = content.get("message", content)  # a stream's first event holds it in there
        used = message.get("usage") if isinstance(message, Mapping) else None
        if not isinstance(used, Mapping):
            return so_far
        earlier = so_far or Usage(0, 0)
        before = _counts(earlier)
        stated = {name: number(used, name) for name in before}
        known = {name: total for name, total in stated.items() if total is not None}
        for_an_hour = number(used, "cache_creation", _FOR_AN_HOUR)
        cost = stated_cost(message)
        if not known and for_an_hour is None and cost is None:
            return so_far
        # The numbers are running totals; one that an event leaves out has not changed.
        now = before | known
        read, written = now["cache_read_input_tokens"], now["cache_creation_input_tokens"]
        prompt = now["input_tokens"] + read + written
        if for_an_hour is None:
            for_an_hour = earlier.cache_write_1h_tokens
        cost = earlier.cost if cost is None else cost
        return Usage(prompt, now["output_tokens"], read, written, for_an_hour, cost)

    def is_last(self, event: ServerSentEvent) -> bool:
        """Tell whether the event ends the answer, as a success or not."""
        return (event.content.get("type") or event.name) in _LAST_TYPES

    def is_run_by_client(self, tool: Mapping[str, Any]) -> bool:
        kind = tool.get("type")
        return kind in _OWN_TOOLS or str(kind).startswith(_CLIENT_TOOLS)

    def malformed(self, content: dict[str, Any]) -> bool:
        """Put a stray "{" before the input of calls, which in a whole answer becomes a string."""
        delta = content.get("delta")
        if isinstance(delta, dict) and delta.get("type") == "input_json_delta":
            return _spoil_delta(delta)
        found = False
        for block in objects(content.get("content")):
            if block.get("type") == "tool_use":
                block["input"] = "{" + dump(block.get("input"))
                found = True
        return found


def _spoil_delta(delta: dict[str, Any]) -> bool:
    if not delta.get("partial_json"):
        return False
    delta["partial_json"] = "{" + delta["partial_json"]
    return True


def _content(reply: Reply, label: str) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if reply.reasoning:
        signature = f"scripted_{label}"
        blocks.append({"type": "thinking", "thinking": reply.reasoning, "signature": signature})
    if reply.text:
        blocks.append({"type": "text", "text": reply.text})
    for index, call in enumerate(reply.calls):
        identity = {"id": f"toolu_{label}_{index}", "name": call.name}
        blocks.append({"type": "tool_use", **identity, "input": dict(call.arguments)})
    return blocks


def _stop_reason(reply: Reply) -> str:
    if reply.finish_reason == "length":
        return "max_tokens"
    return reply.finish_reason or ("tool_use" if reply.calls else "end_turn")


def _usage(usage: Usage) -> dict[str, Any]:
    """Return the tokens in Anthropic's form."""
    for_an_hour = usage.cache_write_1h_tokens
    lifetimes = {
        "ephemeral_5m_input_tokens": usage.cache_write_tokens - for_an_hour,
        _FOR_AN_HOUR: for_an_hour,
    }
    return {**_counts(usage), "cache_creation": lifetimes}


def _counts(usage: Usage) -> dict[str, int]:
    """Return the tokens as Anthropic counts them: `input_tokens` without those of the cache."""
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    return {
        "input_tokens": usage.prompt_tokens - cached,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "output_tokens": usage.completion_tokens,
    }


def _events(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events that add up to a whole answer."""
    usage = {**whole["usage"], "output_tokens": 0}
    begun = {**whole, "content": [], "stop_reason": None, "usage": usage}
    yield {"type": "message_start", "message": begun}
    for index, block in enumerate(whole["content"]):
        first, deltas = _in_parts(block)
        yield {"type": "content_block_start", "index": index, "content_block": first}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {
        "type": "message_delta",
        "delta": {name: whole[name] for name in ("stop_reason", "stop_sequence")},
        "usage": {"output_tokens": whole["usage"]["output_tokens"]},
    }
    yield {"type": "message_stop"}


def _in_parts(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a block as it is announced, and the deltas that complete it."""
    match block["type"]:
        case "thinking":
            deltas = [
                {"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])
            ]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
            return {**block, "thinking": "", "signature": ""}, deltas
        case "text":
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
            return {**block, "text": ""}, deltas
        case _:
            arguments = pieces(dump(block["input"]))
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in arguments]
            return {**block, "input": {}}, deltas
