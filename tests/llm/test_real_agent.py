"""A real agent in a container, whose LLM is the gateway."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from docker.models.containers import Container

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.replies import LLMRequest, Reply, error, say, tool
from pytest_agent_sandbox.llm.script import Script

KEY = "a-session-key"


@pytest.fixture(scope="module")
def container(engine: ContainerEngine, agent_server_image: str) -> Iterator[Container]:
    container = engine.client.containers.run(
        agent_server_image,
        detach=True,
        environment={"OH_SESSION_API_KEYS_0": KEY, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        ports={"8000/tcp": ("127.0.0.1", None)},
        labels={"pytest-agent-sandbox-test": "llm"},
    )
    try:
        container.reload()
        yield container
    finally:
        container.remove(force=True, v=True)


@pytest.fixture(scope="module")
def server(container: Container) -> Iterator[httpx.Client]:
    """A client of a real agent server."""
    with httpx.Client(
        base_url=f"http://127.0.0.1:{container.ports['8000/tcp'][0]['HostPort']}",
        headers={"X-Session-API-Key": KEY},
        timeout=30,
        trust_env=False,
    ) as client:
        wait_until_healthy(client)
        yield client


@pytest.fixture(scope="module")
def bridge(container: Container) -> str:
    """The address by which containers reach this host, and no other machine does."""
    # The container knows it always; the network's own description may lack it.
    return str(container.attrs["NetworkSettings"]["Networks"]["bridge"]["Gateway"])


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_of_several_turns(server: httpx.Client, bridge: str, stream: bool) -> None:
    def report(request: LLMRequest) -> Reply:
        assert "hello from the sandbox" in request.last_message
        return say("Again.", tool("terminal", command="echo a"), tool("terminal", command="echo b"))

    script = [
        error(429),
        # Nothing but what the tools need: no `summary`, no `security_risk`.
        tool("terminal", command="echo hello from the sandbox"),
        report,
        tool("finish", message="Done, grüße."),
    ]
    with Gateway(bridge) as gateway:
        lane = gateway.open_lane(Script(script), name="main")
        info, events = converse(server, lane, bridge, stream=stream)
        lane.verify()
    assert info["execution_status"] == "finished"
    assert info["stats"]["usage_to_metrics"]["agent"]["accumulated_cost"] > 0
    actions = [event for event in events if event["kind"] == "ActionEvent"]
    assert [event["tool_call_id"] for event in actions] == [
        "call_main_2_0",
        "call_main_3_0",
        "call_main_3_1",
        "call_main_4_0",
    ]
    assert actions[-1]["action"]["message"] == "Done, grüße."
    assert [call.status for call in lane.calls] == [429, 200, 200, 200]
    assert {call.streamed for call in lane.calls} == {stream}


def test_a_script_that_ends_too_early_ends_the_run_at_once(
    server: httpx.Client, bridge: str
) -> None:
    with Gateway(bridge) as gateway:
        lane = gateway.open_lane(Script([tool("terminal", command="echo hello")]))
        info, events = converse(server, lane, bridge)
        failures = [event for event in events if event["kind"] == "ConversationErrorEvent"]
    assert info["execution_status"] == "error"
    assert "Request 2: No reply is left in the script" in failures[-1]["detail"]
    assert [call.status for call in lane.calls] == [200, 400], "the agent must not retry"


def converse(
    server: httpx.Client, lane: Lane, host: str, *, stream: bool = False
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Send one message; the conversation's state and events once its run has ended."""
    llm = {
        "usage_id": "agent",
        "model": "openai/gpt-4o",
        "base_url": lane.base_url(host),
        "api_key": lane.token,
        "num_retries": 3,
        "retry_min_wait": 1,
        "retry_max_wait": 2,
        "stream": stream,
    }
    body = {
        "agent": {"kind": "Agent", "llm": llm, "tools": [{"name": "terminal"}]},
        "workspace": {"kind": "LocalWorkspace", "working_dir": "/workspace/project"},
        "autotitle": False,
    }
    message = {"role": "user", "content": [{"type": "text", "text": "go"}], "run": True}
    path = f"/api/conversations/{post(server, '/api/conversations', body)['id']}"
    post(server, f"{path}/events", message)
    deadline = time.monotonic() + 60
    while True:
        info = server.get(path).raise_for_status().json()
        if info["execution_status"] in ("finished", "error", "stuck"):
            events = server.get(f"{path}/events/search", params={"limit": 100}).json()["items"]
            return info, events
        assert time.monotonic() < deadline, info["execution_status"]
        time.sleep(0.1)


def post(server: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = server.post(path, json=body).raise_for_status().json()
    return answer


def wait_until_healthy(client: httpx.Client) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if client.get("/health").is_success:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "the agent server never answered"
        time.sleep(0.1)
