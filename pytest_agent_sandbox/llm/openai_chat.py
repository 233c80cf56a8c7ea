"""The OpenAI chat completions dialect: requests read, replies written, whole or as a stream."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_agent_sandbox.llm.replies import LLMRequest, Reply, ToolCall, Usage

#: Characters of text, reasoning or arguments in one chunk of a stream.
_CHUNK_CHARACTERS = 24
#: Close enough for English; the point is a cost that is not zero and never changes.
_CHARACTERS_PER_TOKEN = 4

_ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_ERROR_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}
_FIRST_SERVER_ERROR = 500


class MalformedRequestError(Exception):
    """The request is not one of this dialect; the message says why."""


def parse_request(body: bytes, number: int) -> LLMRequest:
    """Read a request.

    Raises:
        MalformedRequestError: It is not JSON, or lacks a model or messages.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as problem:
        raise MalformedRequestError(f"The request's body is not JSON: {problem}.") from problem
    if not isinstance(content, dict):
        raise MalformedRequestError("The request's body is not a JSON object.")
    model, messages = content.get("model"), content.get("messages")
    tools = content.get("tools") or []
    if not isinstance(model, str) or not model:
        raise MalformedRequestError("The request names no model.")
    if not _is_list_of_objects(messages) or not messages:
        raise MalformedRequestError("The request's messages are not a list of objects.")
    if not _is_list_of_objects(tools):
        raise MalformedRequestError("The request's tools are not a list of objects.")
    return LLMRequest(number, model, messages, tools, content)


def wants_stream(request: LLMRequest) -> bool:
    """Whether the answer is to come as server-sent events."""
    return request.body.get("stream") is True


def usage_of(request: LLMRequest, reply: Reply) -> Usage:
    """The tokens to book: the script's own numbers, or counted ones."""
    if reply.usage is not None:
        return reply.usage
    asked = _dump({"messages": request.messages, "tools": request.tools})
    calls = "".join(call.name + _dump(call.arguments) for call in reply.calls)
    return Usage(_tokens(asked), _tokens(reply.reasoning + reply.text + calls))


def completion(request: LLMRequest, reply: Reply, label: str) -> dict[str, Any]:
    """The answer in one piece.

    Args:
        request: What is answered.
        reply: The answer.
        label: What makes the answer's ids unique in its conversation, and the same in every run.
    """
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


def stream(request: LLMRequest, reply: Reply, label: str) -> Iterator[bytes]:
    """The same answer as server-sent events."""
    envelope = _envelope("chat.completion.chunk", request, label)
    options = request.body.get("stream_options")
    with_usage = isinstance(options, Mapping) and options.get("include_usage") is True
    for delta in _deltas(reply, label):
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        yield _event({**envelope, "choices": [choice]})
    last = {"index": 0, "delta": {}, "finish_reason": _finish_reason(reply)}
    yield _event({**envelope, "choices": [last]})
    if with_usage:
        yield _event({**envelope, "choices": [], "usage": _usage(usage_of(request, reply))})
    yield b"data: [DONE]\n\n"


def models() -> dict[str, Any]:
    """The answer to "which models are there"."""
    model = {"id": "scripted", "object": "model", "created": 0, "owned_by": "pytest-agent-sandbox"}
    return {"object": "list", "data": [model]}


def error_body(status: int, message: str) -> dict[str, Any]:
    """An error in this dialect's form."""
    default = "server_error" if status >= _FIRST_SERVER_ERROR else "invalid_request_error"
    return {
        "error": {
            "message": message,
            "type": _ERROR_TYPES.get(status, default),
            "param": None,
            "code": _ERROR_CODES.get(status),
        }
    }


def encode(content: Mapping[str, Any]) -> bytes:
    """JSON for the wire, in ASCII: half a surrogate pair in a script gets through unharmed."""
    return json.dumps(content).encode("ascii")


def _deltas(reply: Reply, label: str) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    for piece in _pieces(reply.reasoning):
        yield {"reasoning_content": piece}
    for piece in _pieces(reply.text):
        yield {"content": piece}
    for index, call in enumerate(reply.calls):
        whole = _tool_call(call, index, label)
        arguments = whole["function"]["arguments"]
        whole["function"]["arguments"] = ""
        yield {"tool_calls": [{"index": index, **whole}]}
        for piece in _pieces(arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _envelope(kind: str, request: LLMRequest, label: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{label}",
        "object": kind,
        "created": int(time.time()),
        "model": request.model,
    }


def _tool_call(call: ToolCall, index: int, label: str) -> dict[str, Any]:
    return {
        "id": f"call_{label}_{index}",
        "type": "function",
        "function": {"name": call.name, "arguments": _dump(call.arguments)},
    }


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _finish_reason(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.calls else "stop")


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), _CHUNK_CHARACTERS):
        yield text[start : start + _CHUNK_CHARACTERS]


def _event(content: Mapping[str, Any]) -> bytes:
    return b"data: " + encode(content) + b"\n\n"


def _dump(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False)


def _tokens(text: str) -> int:
    return max(1, len(text) // _CHARACTERS_PER_TOKEN)


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)
