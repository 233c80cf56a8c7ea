"""What tests of live LLMs ask, and how their provider answers."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any

from pytest_agent_sandbox.llm.lane import Lane

KEY = "sk-the-real-key-0123456789"
ASKED: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}


def url(lane: Lane, path: str) -> str:
    return lane.base_url("127.0.0.1") + path


def chunk(text: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": None,
    }


def send_event(handler: BaseHTTPRequestHandler, content: object) -> None:
    send_chunk(handler, b"data: " + json.dumps(content).encode() + b"\n\n")


def send_chunk(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    handler.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
    handler.wfile.flush()
