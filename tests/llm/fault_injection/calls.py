"""What tests of faults ask for, and how."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane

ASKED: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
CLAUDE: Any = {**ASKED, "model": "claude-of-a-test", "max_tokens": 99}
TEXT = "A text that takes some chunks of a stream to say. " * 4
ARGUMENTS = {"command": "echo " * 20, "list": [1, {"a": "ü"}]}


#: In the words of each client's own HTTP library.
BROKEN_OFF = r"peer closed connection|Connection error"


each_way = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


class Host:
    """The gateway of a host whose containers are this machine."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def open_lane(self, source: Any, *, name: str, policy: Any, observer: Any) -> Lane:
        return self._gateway.open_lane(source, name, policy)

    def llm_fields(self, lane: Lane, model: str) -> dict[str, str]:
        return {"model": model, "base_url": lane.base_url("127.0.0.1"), "api_key": lane.token}


def text_of(client: openai.OpenAI, *, streamed: bool, **other: Any) -> str:
    """What the model says."""
    if not streamed:
        answer = client.chat.completions.create(**ASKED, **other)
        return str(answer.choices[0].message.content)
    chunks = client.chat.completions.create(**ASKED, stream=True, **other)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def post(lane: Lane, path: str = "/chat/completions", body: Any = None) -> httpx.Response:
    return httpx.post(
        lane.base_url("127.0.0.1") + path,
        json=ASKED if body is None else body,
        headers={"x-api-key": lane.token},
    )
