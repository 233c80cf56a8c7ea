"""OpenAI responses."""

from __future__ import annotations

import time
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
from pytest_agent_sandbox.llm.dialects.openai_chat import openai_error
from pytest_agent_sandbox.llm.replies import LLMRequest, Reply, ScriptedToolCall, Usage
from pytest_agent_sandbox.llm.sse import ServerSentEvent, encode_event

#: Types of last events. `[DONE]` comes from servers that only resemble OpenAI's.
_LAST_TYPES = ("response.completed", "response.incomplete", "response.failed", "error")
_DONE = "[DONE]"

#: Reasons to stop that leave a response incomplete, as it words them.
_INCOMPLETE_REASONS = {
    "length": "max_output_tokens",
    "max_output_tokens": "max_output_tokens",
    "content_filter": "content_filter",
}

#: Tools that the client runs, wherever it is. `shell` depends on its environment.
_CLIENT_TOOLS = {
    "function",
    "custom",
    "computer_use_preview",
    "computer",
    "local_shell",
    "apply_patch",
    "namespace",
    "tool_search",
}

#: Fields in which events carry a call's arguments.
_ARGUMENTS_FIELDS = {
    "response.function_call_arguments.delta": "delta",
    "response.function_call_arguments.done": "arguments",
}


class OpenAIResponses(Dialect):
    """`POST /responses`."""

    name = "openai-responses"
    path = "/responses"
    counting = "/responses/input_tokens"
    beside = ("/responses/compact",)
    turns = "input"

    def messages(self, content: Mapping[str, Any]) -> Any:
        """Return the conversation so far; a plain string is a single message of the user."""
        turns = content.get(self.turns)
        return [{"role": "user", "content": turns}] if isinstance(turns, str) else turns

    def completion(self, request: LLMRequest, reply: Reply, label: str) -> dict[str, Any]:
        """Return a `response` object."""
        reason = _INCOMPLETE_REASONS.get(reply.finish_reason or "")
        return {
            **_envelope(request, label),
            "status": "incomplete" if reason else "completed",
            "incomplete_details": {"reason": reason} if reason else None,
            "output": _output(reply, label),
            "usage": _usage(usage_of(request, reply)),
        }

    def stream(self, request: LLMRequest, reply: Reply, label: str) -> Iterator[bytes]:
        """Yield the numbered and named events that add up to the same object."""
        whole = self.completion(request, reply, label)
        for position, event in enumerate(_events(whole)):
            yield encode_event({**event, "sequence_number": position}, event["type"])

    def error(self, status: int, message: str) -> dict[str, Any]:
        """Return the body of an error, which is the same in all of OpenAI's dialects."""
        return openai_error(status, message)

    def usage(self, content: Mapping[str, Any], so_far: Usage | None) -> Usage | None:
        """Return the tokens of a whole answer, or of the event that ends a stream."""
        response = content.get("response", content)
        prompt = number(response, "usage", "input_tokens")
        if prompt is None:
            return so_far
        completion = number(response, "usage", "output_tokens") or 0
        cached = number(response, "usage", "input_tokens_details", "cached_tokens") or 0
        written = number(response, "usage", "input_tokens_details", "cache_write_tokens") or 0
        return Usage(prompt, completion, cached, written, cost=stated_cost(response, so_far))

    def is_last(self, event: ServerSentEvent) -> bool:
        """Tell whether the event ends the answer, as a success or not."""
        kind = event.content.get("type") or event.name
        return kind in _LAST_TYPES or event.data.strip() == _DONE

    def is_run_by_client(self, tool: Mapping[str, Any]) -> bool:
        kind = str(tool.get("type"))
        if kind != "shell":
            return kind in _CLIENT_TOOLS
        environment = tool.get("environment")
        if environment is None:
            return True
        return isinstance(environment, Mapping) and environment.get("type") == "local"

    def malformed(self, content: dict[str, Any]) -> bool:
        """Put a stray "{" before the arguments of calls, wherever they are repeated."""
        field = _ARGUMENTS_FIELDS.get(str(content.get("type")))
        if field is not None:
            return _spoil(content, field)
        response = content.get("response", content)
        items = objects(response.get("output")) if isinstance(response, dict) else []
        items += objects([content.get("item")])
        found = False
        for item in items:
            if item.get("type") == "function_call":
                found = _spoil(item, "arguments") or found
        return found


def _spoil(content: dict[str, Any], field: str) -> bool:
    if not content.get(field):
        return False
    content[field] = "{" + content[field]
    return True


def _envelope(request: LLMRequest, label: str) -> dict[str, Any]:
    """Return the fields that name a response, and those that it repeats from its request."""
    body = request.body
    parallel = body.get("parallel_tool_calls")
    return {
        "id": f"resp_{label}",
        "object": "response",
        "created_at": int(time.time()),
        "model": request.model,
        "error": None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata") or {},
        "parallel_tool_calls": True if parallel is None else parallel,
        "previous_response_id": body.get("previous_response_id"),
        "temperature": body.get("temperature"),
        "top_p": body.get("top_p"),
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": list(request.tools),
    }


def _output(reply: Reply, label: str) -> list[dict[str, Any]]:
    items = []
    if reply.reasoning:
        items.append(_reasoning(reply.reasoning, label))
    if reply.text:
        items.append(_message(reply.text, label))
    return items + [_function_call(call, index, label) for index, call in enumerate(reply.calls)]


def _reasoning(text: str, label: str) -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": text}]
    return {"id": f"rs_{label}", "type": "reasoning", "summary": summary}


def _message(text: str, label: str) -> dict[str, Any]:
    return {
        "id": f"msg_{label}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}],
    }


def _function_call(call: ScriptedToolCall, index: int, label: str) -> dict[str, Any]:
    return {
        "id": f"fc_{label}_{index}",
        "type": "function_call",
        "status": "completed",
        "call_id": f"call_{label}_{index}",
        "name": call.name,
        "arguments": dump(call.arguments),
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.completion_tokens,
        # Our count of the reply's tokens does not tell them apart.
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.total_tokens,
    }


def _events(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events that add up to a whole answer, still without numbers."""
    begun = {
        **whole,
        "status": "in_progress",
        "incomplete_details": None,
        "output": [],
        "usage": None,
    }
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(whole["output"]):
        place = {"output_index": index}
        yield {"type": "response.output_item.added", **place, "item": _begun(item)}
        yield from _item_events(item, {"item_id": item["id"], **place})
        yield {"type": "response.output_item.done", **place, "item": item}
    yield {"type": f"response.{whole['status']}", "response": whole}


def _begun(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item as it is announced: without the content that its events will bring."""
    match item["type"]:
        case "reasoning":
            return {**item, "summary": []}
        case "message":
            return {**item, "status": "in_progress", "content": []}
        case _:
            return {**item, "status": "in_progress", "arguments": ""}


def _item_events(item: dict[str, Any], place: dict[str, Any]) -> Iterator[dict[str, Any]]:
    match item["type"]:
        case "reasoning":
            yield from _reasoning_events(item["summary"][0], {**place, "summary_index": 0})
        case "message":
            yield from _text_events(item["content"][0], {**place, "content_index": 0})
        case _:
            yield from _arguments_events(item, place)


def _reasoning_events(part: dict[str, Any], place: dict[str, Any]) -> Iterator[dict[str, Any]]:
    empty = {**part, "text": ""}
    yield {"type": "response.reasoning_summary_part.added", **place, "part": empty}
    for piece in pieces(part["text"]):
        yield {"type": "response.reasoning_summary_text.delta", **place, "delta": piece}
    yield {"type": "response.reasoning_summary_text.done", **place, "text": part["text"]}
    yield {"type": "response.reasoning_summary_part.done", **place, "part": part}


def _text_events(part: dict[str, Any], place: dict[str, Any]) -> Iterator[dict[str, Any]]:
    empty = {**part, "text": ""}
    yield {"type": "response.content_part.added", **place, "part": empty}
    for piece in pieces(part["text"]):
        yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
    done = {"text": part["text"], "logprobs": []}
    yield {"type": "response.output_text.done", **place, **done}
    yield {"type": "response.content_part.done", **place, "part": part}


def _arguments_events(item: dict[str, Any], place: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for piece in pieces(item["arguments"]):
        yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
    done = {"name": item["name"], "arguments": item["arguments"]}
    yield {"type": "response.function_call_arguments.done", **place, **done}
