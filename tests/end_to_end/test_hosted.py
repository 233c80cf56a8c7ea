"""Tests and programs on real agent servers that an API starts, pauses and stops."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_agent_sandbox import DockerWorkspace
from pytest_agent_sandbox.containers.engine import ContainerEngine
from tests.support.hosting import KEY, Hosting, RealServer, Server, hosting
from tests.support.project import Project

RUNTIME = """
    APIRemoteWorkspace(
        runtime_api_url=os.environ["API"],
        runtime_api_key=os.environ["API_KEY"],
        server_image="an/image:1",
        working_dir="/workspace/project",
        gateway_address=os.environ["THIS_MACHINE"],
    )
"""
CLOUD = """
    OpenHandsCloudWorkspace(
        cloud_api_url=os.environ["API"],
        cloud_api_key=os.environ["API_KEY"],
        gateway_address=os.environ["THIS_MACHINE"],
    )
"""
TESTS = """
import os
import time
import pytest
from pytest_agent_sandbox import APIRemoteWorkspace, OpenHandsCloudWorkspace, say, tool

@pytest.fixture(scope="module")
def ws():
    with WORKSPACE as workspace:
        yield workspace

def test_files_and_commands(ws):
    ws.write_text("notes.txt", "kept")
    assert ws.execute_command("cat notes.txt").check().stdout == "kept"

def test_a_conversation_goes_on_after_a_pause(ws, agent_conversation):
    conversation = agent_conversation(workspace=ws, script=[
        tool("terminal", command="echo one > one.txt"), say("One."),
        tool("terminal", command="echo two > two.txt"), say("Two."),
    ])
    conversation.send_message("One.")
    conversation.run(timeout=60)
    ws.pause()
    time.sleep(1)  # its event stream looks for the server meanwhile
    ws.resume()
    conversation.send_message("Two.")
    conversation.run(timeout=60)
    assert ws.read_text("two.txt") == "two\\n"
    assert conversation.events.final_message == "Two."

def test_fails(ws, agent_conversation):
    conversation = agent_conversation(workspace=ws, script=[
        tool("terminal", command="echo by-the-agent > agent.txt; env"), say("ok")])
    conversation.send_message("Go.")
    conversation.run(timeout=60)
    print(ws, ws.api_key.get_secret_value(), os.environ["API_KEY"])
    assert 0
"""


@pytest.fixture
def service(engine: ContainerEngine, agent_server_image: str) -> Iterator[Hosting]:
    def start(url: str, key: str) -> Server:
        return RealServer(DockerWorkspace(server_image=agent_server_image, engine=engine))

    with hosting(start) as service:
        yield service


@pytest.fixture
def variables(service: Hosting, engine: ContainerEngine) -> dict[str, str]:
    address = engine.host_route(None).bind_address
    return {"API": service.url, "API_KEY": KEY, "THIS_MACHINE": address}


@pytest.mark.parametrize("workspace", [RUNTIME, CLOUD], ids=["runtime", "cloud"])
def test_tests_use_it(
    project: Project, service: Hosting, variables: dict[str, str], workspace: str
) -> None:
    keys: list[str] = []
    service.prepare = lambda sandbox: keys.append(sandbox.server.key)
    project.environment |= variables
    project.write("test_it.py", TESTS.replace("WORKSPACE", workspace.strip()))
    _, output = project.run("-v")
    assert "1 failed, 2 passed" in output, output
    assert not service.sandboxes, "it was stopped"
    (folder,) = project.results
    result = json.loads((folder / "result.json").read_text("utf-8"))
    (sandbox,) = result["sandboxes"]
    kind = workspace.split("(", maxsplit=1)[0].strip()
    assert sandbox["started by"].startswith(f"a {kind}() of the tests")
    assert service.url in sandbox["runs as"]
    assert sandbox["server"]
    assert "agent.txt" in (folder / "workspace.diff").read_text("utf-8")
    told = output + "".join(
        path.read_text("utf-8", "replace") for path in folder.rglob("*") if path.is_file()
    )
    assert len(keys) == 1
    assert keys[0] not in told
    assert KEY not in told


PROGRAM = """
import os
from pytest_agent_sandbox import LLM, APIRemoteWorkspace, Conversation, default_agent

workspace = WORKSPACE
with Conversation(
    default_agent(LLM(model="openai/any", base_url=os.environ["LLM"], api_key="key-of-the-llm")),
    workspace,
) as conversation:
    conversation.send_message("Go.")
    conversation.run(timeout=60)
    print(conversation.events.final_message)
    print(workspace.execute_command("env").stdout)
"""


def test_programs_use_it_and_the_keys_stay_here(
    service: Hosting, variables: dict[str, str], tmp_path: Path
) -> None:
    """Also one that ends without having closed it: it is stopped all the same."""
    from pytest_agent_sandbox import say
    from pytest_agent_sandbox.llm.gateway import Gateway
    from pytest_agent_sandbox.llm.script import Script

    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("WORKSPACE", RUNTIME.strip()), encoding="utf-8")
    with Gateway() as provider:
        lane = provider.open_lane(Script([say("Done.")]))
        address = lane.base_url("127.0.0.1")
        text = program.read_text("utf-8").replace("key-of-the-llm", lane.token)
        program.write_text(text, encoding="utf-8")
        ran = subprocess.run(
            [sys.executable, program],
            env={"LLM": address, "PATH": "", **variables},
            capture_output=True,
            text=True,
            check=True,
        )
    assert ran.stdout.startswith("Done.\n")
    assert ran.stderr == ""
    assert lane.token not in ran.stdout
    assert KEY not in ran.stdout
    assert not service.sandboxes, "it was stopped"
