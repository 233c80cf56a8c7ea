"""Tests whose agent nobody answers: skipped or failed before a sandbox starts, and counted."""

from __future__ import annotations

import pytest

from tests.support.project import Project, outcomes

CONFTEST = """
import memory_engine

start = memory_engine.MemoryEngine.start

def tell(self, request):
    print(f"STARTED for {request.test}")
    return start(self, request)

memory_engine.MemoryEngine.start = tell
"""

WRONG_ORDER = """
from pytest_agent_sandbox import say
import pytest

def test_at_once(agent_conversation, agent_llm):
    conversation = agent_conversation()
    agent_llm.script([say("Done.")])
    conversation.send_message("Go.")
    conversation.run()

def test_after_a_message(agent_conversation, agent_llm):
    with agent_conversation() as conversation:
        conversation.send_message("Go.")
        agent_llm.script([say("Done.")])
        conversation.run()

@pytest.fixture
def conversation(agent_conversation):
    yield (conversation := agent_conversation())
    conversation.close()

def test_of_a_fixture(conversation, agent_llm):
    agent_llm.script([say("Done.")])

def test_with_a_recording(agent_conversation, agent_llm, monkeypatch):
    agent_llm.begin_unscripted("agent_conversation()")  # which starts no server here
    agent_llm.script([say("Done.")])
"""

SKIPPED = """
import pytest

def test_a_run(agent_conversation):
    conversation = agent_conversation()
    conversation.send_message("Go.")
    conversation.run()

def test_nothing_more(agent_conversation):
    agent_conversation()

def test_its_workspace(agent_conversation):
    agent_conversation().workspace.write_text("x", "y")

def test_its_events(agent_conversation):
    assert not agent_conversation().events

@pytest.mark.parametrize("answers", ["scripted", "live"])
def test_two_ways(agent_conversation, agent_llm, answers):
    if answers == "scripted":
        pytest.skip("for another reason")
    conversation = agent_conversation()
    conversation.send_message("Go.")
    conversation.run()
    agent_llm.script([])
"""

# Each of them is skipped before its sandbox starts …
PROGRAMS = """
import pytest

def test_a_program(agent_workspace, agent_llm):
    agent_workspace.write_text("agent.py", "print()")
    run = agent_workspace.run_agent(["python3", "agent.py"])
    assert run.exit_code == 0

@pytest.mark.agent_sandbox(scope="module")
def test_the_module_s(agent_llm, agent_workspace):
    agent_workspace.run_agent(["x"])

@pytest.fixture
def project(agent_workspace):
    agent_workspace.write_text("agent.py", "print()")
    yield agent_workspace

def test_of_a_fixture(project, agent_llm):
    project.run_agent(["x"]).check()

def test_a_conversation_too(agent_workspace, agent_conversation):
    agent_workspace.write_text("x", "y")
    agent_conversation().run()
"""
# … and each of these runs, for nothing says that it has to ask an LLM.
RUNS = """
import pytest
from pytest_agent_sandbox import say

def test_no_agent(agent_workspace, agent_llm):
    agent_workspace.write_text("x", "y")
    assert agent_workspace.execute_command("cat x").exit_code == 0
    assert not agent_llm.calls

def test_perhaps(agent_workspace, agent_llm):
    if agent_llm.calls:
        agent_workspace.run_agent(["x"])

def test_its_script_is_its_own(agent_workspace, agent_llm):
    agent_llm.script([])
    agent_workspace.run_agent(["x"])

@pytest.fixture
def by_a_fixture(agent_llm):
    agent_llm.script([])

def test_its_script_is_a_fixture_s(agent_workspace, agent_llm, by_a_fixture):
    agent_workspace.run_agent(["x"])

@pytest.mark.parametrize("prepare", [lambda llm: llm.script([])])
def test_its_script_is_a_parameter_s(agent_workspace, agent_llm, prepare):
    prepare(agent_llm)
    agent_workspace.run_agent(["x"])

def test_its_script_is_a_hook_s(agent_workspace, agent_llm):
    agent_workspace.run_agent(["x"])

def test_it_has_a_key(agent_workspace, agent_llm, monkeypatch):
    monkeypatch.setenv("LLM_API_KEY", "sk-of-nobody")
    monkeypatch.setenv("LLM_MODEL", "openai/gpt-4o")
    monkeypatch.setattr(type(agent_workspace), "run_agent", lambda *_: None)
    agent_workspace.run_agent(["x"])
"""
# This engine's workspaces run no programs.
RUN_AGENT = """
memory_engine.MemoryWorkspace.run_agent = lambda *_: None
"""
HOOK = """
def pytest_runtest_call(item):
    if "hook" in item.name:
        item.funcargs["agent_llm"].script([])
"""


@pytest.fixture
def started_is_told(with_engine: Project) -> Project:
    with_engine.write("conftest.py", CONFTEST)
    return with_engine


def test_a_script_that_comes_too_late_fails(started_is_told: Project) -> None:
    started_is_told.write("test_it.py", WRONG_ORDER)
    code, output = started_is_told.run("-v", "-s", "--sandbox-engine=memory")
    assert code == 1
    assert "= 4 failed in " in output
    said = (
        "agent_llm.script([…]) comes too late: agent_conversation() was called before it, and so "
        "has no script. Call agent_llm.script([…]) first, then agent_conversation()"
    )
    assert output.count(f"LLMScriptError: {said}") >= 4
    assert "STARTED" not in output
    assert {row["fault"] for row in started_is_told.rows} == {"script"}


def test_what_nobody_answers_is_skipped_and_counted(started_is_told: Project) -> None:
    started_is_told.write("test_it.py", SKIPPED)
    code, output = started_is_told.run("-v", "-s", "--sandbox-engine=memory")
    assert code == 0
    assert set(outcomes(output).values()) == {"SKIPPED"}
    assert "STARTED" not in output
    assert (
        "agent-sandbox: 5 tests skipped: no agent_llm.script([…]), no cassette and no live LLM "
        "(LLM_MODEL and LLM_API_KEY are not set: set them to run it with a live LLM and record it)"
    ) in output
    _, output = started_is_told.run("-n1", "--sandbox-engine=memory")
    assert "agent-sandbox: 5 tests skipped: no agent_llm.script" in output
    _, output = started_is_told.run("-q", "--sandbox-engine=memory")
    assert "agent-sandbox:" not in output


def test_a_program_that_nobody_answers_is_skipped_before_its_sandbox_starts(
    started_is_told: Project,
) -> None:
    started_is_told.write("test_it.py", PROGRAMS)
    code, output = started_is_told.run("-v", "-s", "--sandbox-engine=memory")
    assert code == 0
    assert set(outcomes(output).values()) == {"SKIPPED"}
    assert "STARTED" not in output
    assert "agent-sandbox: 4 tests skipped: no agent_llm.script([…]), no cassette" in output


def test_a_test_that_may_do_without_an_llm_runs(started_is_told: Project) -> None:
    started_is_told.write("test_it.py", RUNS)
    started_is_told.write("conftest.py", CONFTEST + RUN_AGENT + HOOK)
    code, output = started_is_told.run("-v", "-s", "--sandbox-engine=memory")
    assert (code, output.count("STARTED")) == (0, 7)
    assert "= 7 passed in " in output


def test_a_missing_engine_is_counted_too(project: Project) -> None:
    project.environment["DOCKER_HOST"] = "tcp://127.0.0.1:9"
    project.write("test_it.py", "def test_it(agent_workspace): pass\n")
    code, output = project.run("--sandbox-no-engine=skip")
    assert code == 0
    assert "agent-sandbox: 1 test skipped: sandbox_no_engine = skip: " in output


def test_a_workspace_of_ones_own_starts_no_second_one(started_is_told: Project) -> None:
    started_is_told.write(
        "test_it.py",
        "from pytest_agent_sandbox import say\n"
        "def test_it(agent_conversation, agent_llm, agent_workspace_factory):\n"
        "    agent_llm.script([say('Done.')])\n"
        "    workspace = agent_workspace_factory()\n"
        "    agent_conversation(workspace=workspace)\n",
    )
    _, output = started_is_told.run("-s", "--sandbox-engine=memory")
    assert output.count("STARTED") == 1
