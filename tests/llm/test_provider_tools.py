"""Tools that the provider would run itself are refused, unless a setting allows them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from pytest_agent_sandbox.llm.budgets import Budget, Limits
from pytest_agent_sandbox.llm.fault_injection import Faults, ProviderFailure
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.pipeline import Policy
from pytest_agent_sandbox.llm.replies import say
from pytest_agent_sandbox.llm.script import Script

CHAT, RESPONSES, MESSAGES = "/chat/completions", "/responses", "/messages"
TURNS = {"messages": [{"role": "user", "content": "hello"}]}
BODIES: dict[str, Any] = {
    CHAT: {"model": "gpt-4o", **TURNS},
    RESPONSES: {"model": "gpt-4o", "input": "hello"},
    MESSAGES: {"model": "claude-sonnet-4-5", "max_tokens": 5, **TURNS},
}

#: Path, what the request has, and how the refusal calls it.
PICTURE = "data:image/png;base64,iVBORw0KGgo="


def said(part: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [part]}]}


def inputs(part: dict[str, Any]) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": [part]}]}


PROVIDER_S = [
    (CHAT, {"web_search_options": {}}, "web_search_options"),
    (CHAT, {"web_search_options": {"search_context_size": "low"}}, "web_search_options"),
    (CHAT, {"plugins": [{"id": "web"}]}, "plugins"),
    (CHAT, {"model": "gpt-4o-search-preview"}, "gpt-4o-search-preview"),
    (CHAT, {"model": "gpt-5-search-api"}, "gpt-5-search-api"),
    (CHAT, {"model": "openai/gpt-4o:online"}, "gpt-4o:online"),
    (CHAT, {"tools": [{"type": "web_search"}]}, "web_search"),
    (CHAT, {"tools": [{"type": "function"}, {"type": "mcp"}]}, "mcp"),
    (CHAT, {"tools": [{"google_search": {}}]}, "None"),
    (RESPONSES, {"tools": [{"type": "web_search"}]}, "web_search"),
    (RESPONSES, {"tools": [{"type": "web_search_preview_2025_03_11"}]}, "web_search_preview"),
    (RESPONSES, {"tools": [{"type": "code_interpreter"}]}, "code_interpreter"),
    (RESPONSES, {"tools": [{"type": "file_search"}]}, "file_search"),
    (RESPONSES, {"tools": [{"type": "image_generation"}]}, "image_generation"),
    (RESPONSES, {"tools": [{"type": "mcp", "server_url": "https://x"}]}, "mcp"),
    (RESPONSES, {"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]}, "shell"),
    (RESPONSES, {"tools": [{"type": "of_tomorrow"}]}, "of_tomorrow"),
    (RESPONSES, {"prompt": {"id": "pmpt_1"}}, "prompt"),
    (MESSAGES, {"tools": [{"type": "web_search_20250305"}]}, "web_search_20250305"),
    (MESSAGES, {"tools": [{"type": "web_fetch_20250910"}]}, "web_fetch_20250910"),
    (MESSAGES, {"tools": [{"type": "code_execution_20250825"}]}, "code_execution_20250825"),
    (MESSAGES, {"tools": [{"type": "mcp_toolset"}]}, "mcp_toolset"),
    (MESSAGES, {"mcp_servers": [{"url": "https://x"}]}, "mcp_servers"),
    (MESSAGES, {"tools": [{"type": "custom"}, {"type": "of_tomorrow"}]}, "of_tomorrow"),
    # A picture's address can carry out whatever is written into it.
    (CHAT, said({"type": "image_url", "image_url": {"url": "https://x/?s"}}), "image_url"),
    (CHAT, said({"type": "image_url", "image_url": "HTTP://x"}), "image_url"),
    (CHAT, said({"type": "image_url", "Image_URL": {"URL": " https://x"}}), "Image_URL"),
    (CHAT, said({"type": "video_url", "video_url": {"url": "gs://x"}}), "video_url"),
    (CHAT, said({"type": "file", "file": {"file_data": "https://x/a.pdf"}}), "file_data"),
    (RESPONSES, inputs({"type": "input_image", "image_url": "https://x"}), "image_url"),
    (RESPONSES, inputs({"type": "input_file", "file_url": "https://x"}), "file_url"),
    (MESSAGES, said({"type": "image", "source": {"type": "url", "url": "https://x"}}), "url"),
    (
        MESSAGES,
        said({"type": "tool_result", "content": [{"source": {"type": "url", "url": "http://x"}}]}),
        "url",
    ),
]

CLIENT_S = [
    (CHAT, said({"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}})),
    (CHAT, said({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}})),
    (CHAT, said({"type": "text", "text": "Look at https://x.example."})),
    (RESPONSES, inputs({"type": "input_image", "image_url": PICTURE})),
    (RESPONSES, inputs({"annotations": [{"type": "url_citation", "url": "https://x"}]})),
    (MESSAGES, said({"type": "tool_use", "name": "x", "input": {"image_url": "https://x"}})),
    (MESSAGES, said({"type": "image", "source": {"type": "base64", "data": "AAAA"}})),
    (CHAT, {}),
    (CHAT, {"tools": []}),
    (CHAT, {"tools": None, "web_search_options": None}),
    (CHAT, {"tools": [{"type": "function", "function": {"name": "web_search"}}]}),
    (CHAT, {"tools": [{"type": "custom", "custom": {"name": "code_interpreter"}}]}),
    (CHAT, {"model": "my-research-model"}),
    (RESPONSES, {"tools": [{"type": "function", "name": "mcp"}]}),
    (RESPONSES, {"tools": [{"type": "custom", "name": "x"}]}),
    (RESPONSES, {"tools": [{"type": "local_shell"}, {"type": "apply_patch"}]}),
    (RESPONSES, {"tools": [{"type": "shell"}]}),
    (RESPONSES, {"tools": [{"type": "shell", "environment": {"type": "local"}}]}),
    (RESPONSES, {"tools": [{"type": "computer_use_preview"}]}),
    (MESSAGES, {"tools": [{"name": "web_search", "input_schema": {}}]}),
    (MESSAGES, {"tools": [{"type": "custom", "name": "x"}, {"type": None, "name": "y"}]}),
    (MESSAGES, {"tools": [{"type": "bash_20250124"}, {"type": "text_editor_20250728"}]}),
    (MESSAGES, {"tools": [{"type": "computer_20250124"}, {"type": "memory_20250818"}]}),
]


def lane_with(gateway: Gateway, **policy: Any) -> Lane:
    return gateway.open_lane(Script([say("ok")]), policy=Policy(**policy))


def post(lane: Lane, path: str, change: dict[str, Any]) -> httpx.Response:
    return httpx.post(
        lane.base_url("127.0.0.1") + path,
        json=BODIES[path] | change,
        headers={"x-api-key": lane.token},
        verify=False,
    )


@pytest.fixture(scope="module")
def nothing_left() -> None:
    """One gateway serves all of these tests; others look at what a gateway leaves."""


@pytest.fixture(scope="module")
def gateway() -> Any:
    with Gateway() as gateway:
        yield gateway


@pytest.mark.parametrize(("path", "change", "name"), PROVIDER_S, ids=str)
def test_a_provider_s_tool_is_refused(
    gateway: Gateway, path: str, change: dict[str, Any], name: str
) -> None:
    lane = lane_with(gateway)
    answer = post(lane, path, change)
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert name in message
    assert "llm_provider_tools = true" in message
    assert lane.calls[0].problem == message
    assert lane.source.used == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(("path", "change", "name"), PROVIDER_S, ids=str)
def test_a_provider_s_tool_is_let_through_where_it_is_allowed(
    gateway: Gateway, path: str, change: dict[str, Any], name: str
) -> None:
    assert post(lane_with(gateway, provider_tools=True), path, change).status_code == 200


@pytest.mark.parametrize(("path", "change"), CLIENT_S, ids=str)
def test_a_client_s_tool_is_let_through(
    gateway: Gateway, path: str, change: dict[str, Any]
) -> None:
    assert post(lane_with(gateway), path, change).status_code == 200


def test_all_that_is_refused_is_named(gateway: Gateway) -> None:
    tools = [{"type": "web_search"}, {"type": "function"}, {"type": "mcp"}]
    message = post(lane_with(gateway), RESPONSES, {"tools": tools}).json()["error"]["message"]
    assert "web_search, mcp" in message


@pytest.mark.parametrize(
    ("path", "change"),
    [
        # The requests of a batch are each in `params`.
        (
            "/messages/batches",
            {"requests": [{"params": {"tools": [{"type": "web_search_20250305"}]}}]},
        ),
        # An item of the input may bring tools with it.
        (
            RESPONSES,
            {"input": [{"type": "additional_tools", "tools": [{"type": "web_search"}]}]},
        ),
    ],
    ids=["batch", "additional tools"],
)
def test_a_provider_s_tool_is_refused_wherever_it_is(
    gateway: Gateway, path: str, change: dict[str, Any]
) -> None:
    lane = lane_with(gateway, allow_paths=("messages/batches",))
    answer = httpx.post(
        lane.base_url("127.0.0.1") + path,
        json=BODIES.get(path, {}) | change,
        headers={"x-api-key": lane.token},
        verify=False,
    )
    assert "llm_provider_tools" in answer.text


def test_what_is_refused_takes_neither_budget_nor_fault(gateway: Gateway) -> None:
    faults = Faults()
    faults.add(ProviderFailure(503, "No."))
    budget = Budget("test", Limits(calls=2))
    lane = lane_with(gateway, faults=faults, budget=budget)
    for _ in range(3):
        assert post(lane, CHAT, {"tools": [{"type": "mcp"}]}).status_code == 400
    lane.check()
    assert len(faults.left) == 1
    assert [post(lane, CHAT, {}).status_code for _ in range(2)] == [503, 200]
