"""OpenAI chat completions."""

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
from pytest_agent_sandbox.llm.replies import LLMRequest, Reply, ScriptedToolCall, Usage
from pytest_agent_sandbox.llm.sse import ServerSentEvent, encode_event

_ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_ERROR_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}
_FIRST_SERVER_ERROR = 500
_LAST = "[DONE]"

#: Tools that the client runs.
_CLIENT_TOOLS = {"function", "custom"}


class OpenAIChat(Dialect):
    """`POST /chat/completions`, which most providers and local servers speak too."""

    name = "openai-chat"
    path = "/chat/completions"
    beside = ("/embeddings",)
    turns = "messages"
    may_end_unsaid = True

    def completion(self, request: LLMRequest, reply: Reply, label: str) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
        if reply.reasoning:
            message["reasoning_content"] = reply.reasoning
        if reply.calls:
            message["tool_calls"] = [
                _tool_call(call, index, label) for index, call in enumerate(reply.calls)
            ]
        return {
            **_envelope("chat.completion", request, label),
            "choices": [{"index": 0, "message": message, "finish_reason": _finish_reason(reply)}],
            "usage": _usage(usage_of(request, reply)),
        }

    def stream(self, request: LLMRequest, reply: Reply, label: str) -> Iterator[bytes]:
        envelope = _envelope("chat.completion.chunk", request, label)
        options = request.body.get("stream_options")
        with_usage = isinstance(options, Mapping) and options.get("include_usage") is True
        for delta in _deltas(reply, label):
            choice = {"index": 0, "delta": delta, "finish_reason": None}
            yield encode_event({**envelope, "choices": [choice]})
        last = {"index": 0, "delta": {}, "finish_reason": _finish_reason(reply)}
        yield encode_event({**envelope, "choices": [last]})
        if with_usage:
            usage = _usage(usage_of(request, reply))
            yield encode_event({**envelope, "choices": [], "usage": usage})
        yield encode_event(_LAST)

    def error(self, status: int, message: str) -> dict[str, Any]:
        return openai_error(status, message)

    def usage(self, content: Mapping[str, Any], so_far: Usage | None) -> Usage | None:
        prompt = number(content, "usage", "prompt_tokens")
        if prompt is None:
            return so_far
        completion = number(content, "usage", "completion_tokens") or 0
        details = ("usage", "prompt_tokens_details")
        cached = number(content, *details, "cached_tokens") or 0
        written = number(content, *details, "cache_write_tokens") or 0
        return Usage(prompt, completion, cached, written, cost=stated_cost(content, so_far))

    def is_last(self, event: ServerSentEvent) -> bool:
        return event.data.strip() == _LAST

    def ends_answer(self, event: ServerSentEvent) -> bool:
        # Some servers leave the last event out.
        choices = objects(event.content.get("choices")) if "finish_reason" in event.data else []
        return self.is_last(event) or any(choice.get("finish_reason") for choice in choices)

    def is_run_by_client(self, tool: Mapping[str, Any]) -> bool:
        return tool.get("type") in _CLIENT_TOOLS

    def malformed(self, content: dict[str, Any]) -> bool:
        found = False
        for choice in objects(content.get("choices")):
            message = choice.get("message") or choice.get("delta") or {}
            for call in objects(message.get("tool_calls")):
                function = call.get("function") or {}
                if function.get("arguments"):
                    function["arguments"] = "{" + function["arguments"]
                    found = True
        return found


def openai_error(status: int, message: str) -> dict[str, Any]:
    """Return an error in OpenAI's form."""
    default = "server_error" if status >= _FIRST_SERVER_ERROR else "invalid_request_error"
    return {
        "error": {
            "message": message,
            "type": _ERROR_TYPES.get(status, default),
            "param": None,
            "code": _ERROR_CODES.get(status),
        }
    }


def _deltas(reply: Reply, label: str) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    for piece in pieces(reply.reasoning):
        yield {"reasoning_content": piece}
    for piece in pieces(reply.text):
        yield {"content": piece}
    for index, call in enumerate(reply.calls):
        whole = _tool_call(call, index, label)
        arguments = whole["function"]["arguments"]
        whole["function"]["arguments"] = ""
        yield {"tool_calls": [{"index": index, **whole}]}
        for piece in pieces(arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _envelope(kind: str, request: LLMRequest, label: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{label}",
        "object": kind,
        "created": int(time.time()),
        "model": request.model,
    }


def _tool_call(call: ScriptedToolCall, index: int, label: str) -> dict[str, Any]:
    return {
        "id": f"call_{label}_{index}",
        "type": "function",
        "function": {"name": call.name, "arguments": dump(call.arguments)},
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
    }


def _finish_reason(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.calls else "stop")
