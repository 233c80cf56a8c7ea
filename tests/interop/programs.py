"""Programs as users of openhands-sdk write them, after its guide to sandboxes in Docker.

They call all that the guide's three programs call, in its order. `ours` changes their imports and
what docs/interop.md names: nothing else.
"""

from __future__ import annotations

import re

#: Where upstream has what is all in one place here.
_IMPORT = re.compile(r"from openhands\.[\w.]+ import ")
_IMAGE = "ghcr.io/openhands/agent-server:latest-python"

_BEGIN = """
import os
import time

import httpx
from pydantic import SecretStr

from openhands.sdk import LLM, Conversation, get_logger
from openhands.sdk.conversation.impl.remote_conversation import RemoteConversation
from openhands.tools.preset.default import get_default_agent
from openhands.workspace import DockerWorkspace

logger = get_logger(__name__)
llm = LLM(
    usage_id="agent",
    model=os.getenv("LLM_MODEL", "anthropic/claude-sonnet-4-5-20250929"),
    base_url=os.getenv("LLM_BASE_URL"),
    api_key=SecretStr(os.environ["LLM_API_KEY"]),
)
events = []
last = {"ts": time.time()}


def on_event(event) -> None:
    logger.info(f"{type(event).__name__}: {event}")
    events.append(event)
    last["ts"] = time.time()

"""

BASIC = (
    _BEGIN
    + """
with DockerWorkspace(
    server_image="ghcr.io/openhands/agent-server:latest-python",
    host_port=8010,
    platform="linux/amd64",
) as workspace:
    agent = get_default_agent(llm=llm, cli_mode=True)
    result = workspace.execute_command("echo 'Hello!' && pwd")
    logger.info(f"{result.command!r} ended with {result.exit_code}: {result.stdout}")
    conversation = Conversation(agent=agent, workspace=workspace, callbacks=[on_event])
    assert isinstance(conversation, RemoteConversation)
    try:
        logger.info(f"id: {conversation.state.id}")
        conversation.send_message("Write 3 facts about this project into FACTS.txt.")
        conversation.run()
        logger.info(f"status: {conversation.state.execution_status}")
        while time.time() - last["ts"] < 0.5:
            time.sleep(0.1)
        conversation.send_message("Now delete that file.")
        conversation.run()
        metrics = conversation.conversation_stats.get_combined_metrics()
        print(f"COST: {metrics.accumulated_cost}")
    finally:
        conversation.close()
assert events
"""
)

VSCODE = (
    _BEGIN
    + """
with DockerWorkspace(
    server_image="ghcr.io/openhands/agent-server:latest-python",
    host_port=18010,
    platform="linux/amd64",
    extra_ports=True,
) as workspace:
    agent = get_default_agent(llm=llm, cli_mode=True)
    conversation = Conversation(agent=agent, workspace=workspace, callbacks=[on_event])
    assert isinstance(conversation, RemoteConversation)
    conversation.send_message("Create a Python script that prints Hello World.")
    conversation.run()
    port = (workspace.host_port or 8010) + 1
    params = {"workspace_dir": workspace.working_dir}
    answer = httpx.get(f"{workspace.host}/api/vscode/url", params=params).json()
    url = answer.get("url", "").replace("localhost:8001", f"localhost:{port}")
    while input(f"VS Code: {url}\\nPress 'y' to end. ") != "y":
        pass
"""
)

BROWSER = (
    _BEGIN
    + """
with DockerWorkspace(
    server_image="ghcr.io/openhands/agent-server:latest-python",
    host_port=18010,
    platform="linux/amd64",
    extra_ports=True,
) as workspace:
    agent = get_default_agent(llm=llm, cli_mode=False)
    conversation = Conversation(agent=agent, workspace=workspace, callbacks=[on_event])
    assert isinstance(conversation, RemoteConversation)
    conversation.send_message("What does the page tell?")
    conversation.run()
    print(f"COST: {conversation.conversation_stats.get_combined_metrics().accumulated_cost}")
    while input("See http://localhost:18012/vnc.html?autoconnect=1. Press 'y' to end. ") != "y":
        pass
"""
)


def ours(program: str, *, image: str, host_port: int) -> str:
    """Return a program with our imports, and an image and a port that are there on this machine."""
    changed = _IMPORT.sub("from pytest_agent_sandbox import ", program)
    changed = changed.replace(_IMAGE, image)
    return re.sub(r"host_port=\d+", f"host_port={host_port}", changed)
