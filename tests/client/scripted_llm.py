"""A tiny LLM for the real agent: OpenAI chat completions, each reply written by the test."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import docker
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from pytest_agent_sandbox.client.agents import LLM


@dataclass(frozen=True)
class Reply:
    """One answer: text, tool calls, or an error status; `delay` in seconds comes first."""

    text: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    status: int = 200
    delay: float = 0.0


def say(text: str, *, delay: float = 0.0) -> Reply:
    return Reply(text, delay=delay)


def tool(name: str, **arguments: Any) -> Reply:
    return Reply(calls=((name, arguments),))


class ScriptedLLM:
    """Give one reply per request; beyond the script's end every request fails with a 400."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self._replies: Iterator[Reply] = iter(())
        self._server = uvicorn.Server(
            uvicorn.Config(
                Starlette(routes=[Route("/v1/chat/completions", self._complete, methods=["POST"])]),
                host=bridge_address(),
                port=0,
                log_level="critical",
                lifespan="off",
                timeout_graceful_shutdown=0,
            )
        )
        self._thread = threading.Thread(target=self._server.run, name="scripted-llm")

    def script(self, *replies: Reply) -> None:
        self._replies = iter(replies)

    def llm(self, **settings: Any) -> LLM:
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return LLM(
            model="openai/gpt-4o-mini",
            base_url=f"http://host.docker.internal:{port}/v1",
            api_key="test-key",
            **settings,
        )

    def __enter__(self) -> ScriptedLLM:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()

    async def _complete(self, request: Request) -> JSONResponse:
        body = await request.json()
        self.requests.append(body)
        reply = next(self._replies, Reply("the script is at its end", status=400))
        await asyncio.sleep(reply.delay)
        if reply.status != 200:
            return JSONResponse({"error": {"message": reply.text}}, reply.status)
        return JSONResponse(_completion(body["model"], reply, len(self.requests)))


def bridge_address() -> str:
    """The host's address on Docker's default bridge."""
    with contextlib.closing(docker.from_env()) as client:
        config = client.networks.get("bridge").attrs["IPAM"]["Config"][0]
    # Not every engine names the gateway; it is the first address of the subnet then.
    return config.get("Gateway") or str(ipaddress.ip_network(config["Subnet"])[1])


def _completion(model: str, reply: Reply, number: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.calls:
        message["tool_calls"] = [
            {
                "id": f"call_{number}_{index}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for index, (name, arguments) in enumerate(reply.calls)
        ]
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": "tool_calls" if reply.calls else "stop",
            }
        ],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
    }
