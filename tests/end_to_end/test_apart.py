"""Engines whose published ports are out of reach: agents and tests talk over its connection."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from pathlib import Path

import pytest

from pytest_agent_sandbox.containers.engine import ContainerEngine
from tests.support.fake_engine import EngineProxy
from tests.support.project import Project

SUITE = """
from pytest_agent_sandbox import say, tool

def test_talks(agent_workspace, agent_llm, agent_conversation):
    agent_llm.script([tool("terminal", command="cat a.txt > b.txt"), say("Done.")])
    agent_workspace.write_text("a.txt", "hello")
    conversation = agent_conversation()
    conversation.send_message("Copy it.")
    conversation.run(timeout=60)
    assert agent_workspace.read_text("b.txt") == "hello"
    # It has its network all the same.
    assert "eth0" in agent_workspace.execute_command("cat /proc/net/dev").stdout
"""
# Its end is told by what it says: the SDK shows nothing of what a container said that failed.
COMMAND = """
/agent-server/.venv/bin/python -m pytest -p pytest_agent_sandbox.plugin -p no:cacheprovider 2>&1
true
"""
SAID = "agent-sandbox: the engine's ports are out of reach here: all goes over its connection\n"


def test_an_engine_on_another_machine(project: Project, engine: ContainerEngine) -> None:
    project.write("test_it.py", SUITE)
    address = engine.host_route().bind_address
    proxy = EngineProxy(engine.endpoint.removeprefix("unix://"), address)
    project.environment |= {
        "DOCKER_HOST": proxy.address,
        "HTTP_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": address,
    }
    try:
        code, output = project.run()
    finally:
        proxy.close()
    assert code == 0, output
    assert SAID in output


def copy_packages(folder: Path) -> None:
    """What the tests need and the image lacks; all of that is Python and nothing else."""
    for name in ("pytest", "pluggy", "iniconfig", "genai-prices"):
        for file in importlib.metadata.files(name) or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), folder / file)
    package = Path(__file__).parents[2] / "pytest_agent_sandbox"
    shutil.copytree(package, folder / package.name)


@pytest.mark.skipif(os.name == "nt", reason="the engine's socket is mounted")
def test_a_container_that_has_the_engines_socket(
    tmp_path: Path, engine: ContainerEngine, agent_server_image: str
) -> None:
    copy_packages(tmp_path)
    (tmp_path / "test_it.py").write_text(SUITE)
    output = engine.client.containers.run(
        agent_server_image,
        entrypoint=["sh", "-c"],
        command=[COMMAND],
        user="0",
        environment={"PYTHONPATH": "/tests", "PYTEST_SANDBOX_IMAGE": agent_server_image},
        volumes=[f"{tmp_path}:/tests", "/var/run/docker.sock:/var/run/docker.sock"],
        working_dir="/tests",
        remove=True,
    ).decode()
    print(output)
    assert SAID in output
    assert "1 passed" in output
