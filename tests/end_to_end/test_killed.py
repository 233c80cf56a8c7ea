"""What is there when pytest, a worker or the engine's container did not live to the end."""

import json
import signal
import subprocess
import sys
import time

import pytest

from pytest_agent_sandbox.containers.engine import ContainerEngine
from tests.support.fake_engine import EngineProxy

HANGING = """
from pytest_agent_sandbox import delay, say, tool

def test_hangs(agent_workspace, agent_llm, agent_conversation):
    agent_llm.script([tool("terminal", command="echo before the end"), delay(100, say("late"))])
    conversation = agent_conversation()
    conversation.send_message("Go.")
    conversation.run(timeout=100)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_evidence_outlives_the_death_of_pytest(project, engine_client):
    project.write("test_it.py", HANGING)
    with project.start() as process:
        folder = _folder_with(project, "llm-calls.jsonl", '"number": 2', process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    result = json.loads((folder / "result.json").read_text("utf-8"))
    assert result["verdict"] == "running"
    assert result["sandboxes"][0]["image"]
    assert "before the end" in (folder / "events.jsonl").read_text("utf-8")
    assert "Uvicorn running" in (folder / "container.log").read_text()
    shown = _show(project, str(folder))
    assert "test_it.py::test_hangs: running" in shown
    assert "terminal  echo before the end" in shown
    assert "pytest was killed" in shown
    assert "test_it.py::test_hangs" in _show(project)


@pytest.mark.usefixtures("agent_server_image")
def test_a_killed_container_leaves_its_story(project):
    project.write(
        "test_it.py",
        "from pytest_agent_sandbox import say, tool\n"
        "def test_dies(agent_workspace, agent_llm, agent_conversation):\n"
        "    agent_llm.script([tool('terminal', command='echo last words'),\n"
        "                      lambda request: agent_workspace.container.remove()])\n"
        "    conversation = agent_conversation()\n"
        "    conversation.send_message('Go.')\n"
        "    conversation.run(timeout=60)\n",
    )
    code, output = project.run()
    assert code == 1
    assert "fault: the sandbox" in output
    assert "terminal  echo last words" in output
    (row,) = project.rows
    assert row["fault"] == "sandbox"
    (folder,) = project.results
    assert "last words" in (folder / "transcript.html").read_text("utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="the engine has no Unix socket there")
def test_evidence_outlives_the_engine(project, sandboxes, engine_client):
    project.write(
        "test_it.py",
        "import time\n"
        "from pathlib import Path\n"
        "from pytest_agent_sandbox import say, tool\n"
        "def test_x(agent_workspace, agent_llm, agent_conversation):\n"
        "    agent_llm.script([tool('terminal', command='echo while it was there'), say('Ok.')])\n"
        "    conversation = agent_conversation()\n"
        "    conversation.send_message('Go.')\n"
        "    conversation.run(timeout=60)\n"
        "    Path('ready').touch()\n"
        "    while not Path('cut').exists():\n"
        "        time.sleep(0.05)\n"
        "    assert 0, 'the engine is gone'\n",
    )
    with ContainerEngine.connect() as engine:
        if not engine.endpoint.startswith("unix://"):
            pytest.skip(f"the engine at {engine.endpoint} has no Unix socket")
        proxy = EngineProxy(engine.endpoint.removeprefix("unix://"))
        gateway = engine.host_route().bind_address
    project.environment |= {"DOCKER_HOST": proxy.address, "PYTEST_SANDBOX_GATEWAY_ADDRESS": gateway}
    try:
        with project.start() as process:
            end = time.monotonic() + 60
            while not (project.folder / "ready").exists():
                assert process.poll() is None, "it has ended"
                assert time.monotonic() < end, "it never got ready"
                time.sleep(0.1)
            proxy.close()
            (project.folder / "cut").touch()
            output, _ = process.communicate(timeout=100)
        assert process.returncode == 1, output
        (folder,) = project.results
        result = json.loads((folder / "result.json").read_text("utf-8"))
        (sandbox,) = result["sandboxes"]
        assert sandbox["state"].startswith("unknown: ")
        assert "while it was there" in (folder / "transcript.html").read_text("utf-8")
        assert "Uvicorn running" in (folder / "container.log").read_text()
        assert "terminal  echo while it was there" in output
    finally:
        proxy.close()
        for name in sandboxes():  # a later run of the same user would do so
            engine_client.containers.get(name).remove(force=True)


@pytest.mark.usefixtures("agent_server_image")
def test_the_test_that_killed_its_worker_is_in_the_runs_page(project):
    project.write("test_it.py", "import os\ndef test_x(agent_workspace): os._exit(3)\n")
    code, _ = project.run("-n", "1", "--max-worker-restart=0")
    assert code != 0
    (folder,) = project.results
    assert (folder / "transcript.html").exists()
    index = (folder.parent / "index.html").read_text("utf-8")
    assert f"{folder.name}/transcript.html" in index


def _folder_with(project, name, text, process):
    """The folder of the only test, once one of its files holds the text."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()[0]
        for folder in project.results:
            file = folder / name
            if file.exists() and text in file.read_text("utf-8"):
                return folder
        time.sleep(0.1)
    raise AssertionError(f"no {name} with {text!r}")


def _show(project, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "pytest_agent_sandbox.cli", "show", "--text", *arguments],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
