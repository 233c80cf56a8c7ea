"""Evidence is of the sandboxes that a test has really used, whoever has started them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.support.project import Project

pytestmark = pytest.mark.usefixtures("agent_server_image")

OWN = """
import pytest
from pytest_agent_sandbox import DockerWorkspace, say, tool

@pytest.fixture(scope="module")
def ws():
    with DockerWorkspace() as workspace:
        yield workspace

def talk(agent_conversation, **where):
    conversation = agent_conversation(
        script=[tool("terminal", command="echo by-the-agent > agent.txt"), say("ok")], **where)
    conversation.send_message("Go.")
    conversation.run(timeout=60)

def test_passes(ws):
    ws.write_text("first.txt", "of the first")

def test_uses_only_its_own(ws):
    ws.write_text("second.txt", "of the second")
    ws.execute_command("echo run-by-the-second")
    assert 0

def test_talks_in_its_own(ws, agent_conversation):
    talk(agent_conversation, workspace=ws)
    assert 0

def test_closes_its_own():
    with DockerWorkspace(network="none") as mine:
        agent = mine.run_agent(["sh", "-c", "echo printed-by-an-agent; echo x > inside.txt"])
    assert agent.exit_code == 1

def test_uses_none():
    assert 0
"""


def results(project: Project) -> dict[str, dict[str, Any]]:
    """What is told of each failed test, by its name."""
    found = {}
    for folder in project.results:
        result = json.loads((folder / "result.json").read_text("utf-8"))
        result["diff"] = (folder / "workspace.diff").read_text("utf-8")
        result["log"] = (folder / "container.log").read_text("utf-8")
        result["page"] = (folder / "transcript.html").read_text("utf-8")
        result["files"] = {path.name for path in folder.iterdir()}
        found[result["test"].rpartition("::")[2]] = result
    return found


def changed(result: dict[str, Any]) -> set[str]:
    return set(re.findall(r"^\+\+\+ b/(\S+)", result["diff"], re.MULTILINE))


def test_sandboxes_of_a_programs_own(project: Project) -> None:
    """The settings of the run do not reach them, and nothing says that they do."""
    project.write("test_it.py", OWN)
    _, output = project.run("-v", "--sandbox-network=isolated", "--sandbox-memory=1g")
    assert "4 failed, 1 passed" in output
    assert "sandbox started" not in output, "a second, unused one"
    found = results(project)
    assert set(found) == {"test_uses_only_its_own", "test_talks_in_its_own", "test_closes_its_own"}
    for result in found.values():
        (sandbox,) = result["sandboxes"]
        assert sandbox["started by"].startswith("a DockerWorkspace() of the tests")
        assert sandbox["memory"] == "4g"
        assert "isolated" not in str(sandbox)
        assert "isolated, checked" not in result["page"]
        assert sandbox["container"] in result["page"]
        assert result["log"]
    second, talks = found["test_uses_only_its_own"], found["test_talks_in_its_own"]
    assert second["sandboxes"][0]["container"] == talks["sandboxes"][0]["container"]
    assert second["sandboxes"][0]["network"] != "none, checked from inside"
    assert [one["sandboxes"][0]["earlier tests in it"] for one in (second, talks)] == [1, 2]
    assert changed(second) == {"second.txt"}
    assert changed(talks) == {"agent.txt"}
    assert "run-by-the-second" in second["page"]
    assert "run-by-the-second" not in talks["page"]
    assert "Uvicorn running" not in second["log"] + talks["log"], "the start was another test's"
    closed = found["test_closes_its_own"]
    assert closed["sandboxes"][0]["network"] == "none, checked from inside"
    assert changed(closed) == {"inside.txt"}
    assert "printed-by-an-agent" in closed["page"]
    assert "Uvicorn running" in closed["log"]


SHARED = """
import pytest
from pytest_agent_sandbox import say, tool

pytestmark = pytest.mark.agent_sandbox(scope="module")

@pytest.fixture(scope="module")
def repository(agent_workspace_starter):
    return agent_workspace_starter(memory="512m")

def ask(workspace, place):
    workspace.execute_command(f"curl -s -m 5 http://{place} || true")

def test_passes(agent_workspace, repository):
    agent_workspace.write_text("first.txt", "of the first")
    ask(agent_workspace, "first.example")

def test_talks(agent_workspace, agent_conversation):
    conversation = agent_conversation(
        script=[tool("terminal", command="echo by-the-agent > agent.txt"), say("ok")])
    conversation.send_message("Go.")
    conversation.run(timeout=60)
    ask(agent_workspace, "second.example")
    assert agent_workspace.read_text("first.txt") == "of the first"
    known = agent_workspace.connection.get_json("/api/conversations/search")["items"]
    assert len(known) == 1
    assert 0

def test_finds_no_conversation(agent_workspace, repository):
    assert agent_workspace.connection.get_json("/api/conversations/search")["items"] == []
    repository.write_text("third.txt", "x")
    assert 0
"""


def test_sandboxes_of_a_module(project: Project, sandboxes: Any) -> None:
    project.write("test_it.py", SHARED)
    _, output = project.run(
        "-v", "--sandbox-network=isolated", "--sandbox-keep=failed", "--durations=3"
    )
    assert "2 failed, 1 passed" in output
    assert re.search(r"agent-sandbox: 2 sandboxes started", output)
    found = results(project)
    talks, last = found["test_talks"], found["test_finds_no_conversation"]
    (sandbox,) = talks["sandboxes"]
    assert sandbox["network"] == "isolated, checked from inside"
    assert (sandbox["scope"], sandbox["earlier tests in it"]) == ("module", 1)
    assert sandbox["was refused"] == "second.example:80", "the other was another test's"
    assert changed(talks) == {"agent.txt"}
    facts = {one["memory"]: one for one in last["sandboxes"]}
    assert facts["512m"]["fixture"] == "repository"
    assert facts["512m"]["network"] == "isolated, checked from inside"
    assert "was refused" not in facts["4g"]
    assert changed(last) == {"third.txt"}
    assert {"container.log", "container-2.log"} <= last["files"]
    kept = [name for name in sandboxes() if name.startswith("agent-sandbox-kept")]
    assert "2 sandboxes were kept" in output
    assert len(kept) == 2


@pytest.fixture(autouse=True)
def remove_kept(engine_client: Any, sandboxes: Any) -> Any:
    yield
    for name in sandboxes():
        engine_client.containers.get(name).remove(force=True)


def test_a_sandbox_of_a_conversation_is_started_for_it(project: Project) -> None:
    """The wait for it is told as it is for one that was asked for by its name."""
    project.write(
        "test_it.py",
        "from pytest_agent_sandbox import say\n"
        "def test_it(agent_conversation, agent_llm):\n"
        "    agent_llm.script([say('ok')])\n"
        "    conversation = agent_conversation()\n"
        "    conversation.send_message('Go.')\n"
        "    conversation.run(timeout=60)\n"
        "    assert 0\n",
    )
    _, output = project.run("-v", "--sandbox-pool-size=0")
    assert re.search(r"longest wait: [\d.]+ s, test_it.py::test_it\n", output)
    (row,) = project.rows
    assert row["startup"] > 0
    (result,) = results(project).values()
    assert result["conversations"][0]["status"] == "finished"
    assert result["sandboxes"][0]["start_seconds"] > 0


def test_an_agent_workspace_of_the_suites_own_ends_after_its_conversations(
    project: Project,
) -> None:
    project.write(
        "test_it.py",
        "import pytest\n"
        "from pytest_agent_sandbox import say\n"
        "@pytest.fixture\n"
        "def agent_workspace(agent_workspace_factory):\n"
        "    workspace = agent_workspace_factory()\n"
        "    yield workspace\n"
        "    workspace.close()\n"
        "def test_it(agent_conversation):\n"
        "    conversation = agent_conversation(script=[say('ok')])\n"
        "    conversation.send_message('Go.')\n"
        "    conversation.run(timeout=60)\n"
        "    assert 0\n",
    )
    project.run()
    (result,) = results(project).values()
    assert result["conversations"][0]["status"] == "finished"
