"""What a failed test shows and leaves behind, and what a passed one does not."""

import json
import os
import shutil
from xml.etree import ElementTree

import pytest

FAILING = """
from pytest_agent_sandbox import say, tool

def test_agent(agent_workspace, agent_llm, agent_conversation):
    agent_workspace.write_text("keep.txt", "one\\n")
    agent_llm.script([
        say("I will change it.", tool("terminal", command="echo two >> keep.txt && echo DONE")),
        say("Changed."),
    ])
    conversation = agent_conversation()
    conversation.send_message("Change keep.txt.")
    conversation.run(timeout=60)
    assert conversation.status == "{status}"
"""

SECTIONS = ["agent transcript", "container log", "workspace changes", "agent evidence"]


@pytest.fixture(scope="module")
def failed_run(agent_server_image, tmp_path_factory):
    from tests.support.project import Project

    project = Project(tmp_path_factory.mktemp("failed"))
    project.write("pytest.ini", "[pytest]\nfilterwarnings = error\njunit_logging = all\n")
    project.write("test_it.py", FAILING.replace("{status}", "stuck"))
    code, output = project.run("--junitxml=junit.xml")
    return project, code, output


def test_the_header_says_engine_and_image(failed_run):
    _, _, output = failed_run
    lines = [line for line in output.splitlines() if line.startswith("agent-sandbox: ")]
    assert lines[0].startswith("agent-sandbox: 1 test on Docker ")
    assert "agent server 1." in lines[1]
    assert "sha256:" in lines[1]


def test_the_report_tells_the_story(failed_run):
    _, code, output = failed_run
    assert code == 1
    for section in SECTIONS:
        assert f"Captured stdout {section} teardown" in output
    assert "user     Change keep.txt." in output
    assert "terminal  echo two >> keep.txt && echo DONE" in output
    assert "result: DONE" in output
    assert "+two" in output
    assert "fault: an assertion did not hold" in output
    assert "again: pytest test_it.py::test_agent" in output
    assert "1 of 1 sandbox test failed: agent-results/index.html" in output.replace(os.sep, "/")
    assert "1 failed" in output
    assert "error" not in output.splitlines()[-1]


def test_the_files_hold_it_in_full(failed_run):
    project, _, output = failed_run
    (folder,) = project.results
    assert str(folder) in output
    assert {path.name for path in folder.iterdir()} == {
        "container.log",
        "events.jsonl",
        "llm-calls.jsonl",
        "result.json",
        "transcript.html",
        "workspace.diff",
    }
    lines = (folder / "events.jsonl").read_text("utf-8").splitlines()
    events = [json.loads(line)["event"] for line in lines]
    kinds = [event["kind"] for event in events]
    assert {"SystemPromptEvent", "MessageEvent", "ActionEvent", "ObservationEvent"} <= set(kinds)
    result = json.loads((folder / "result.json").read_text())
    assert result["test"] == "test_it.py::test_agent"
    assert result["phases"]["call"]["outcome"] == "failed"
    assert result["phases"]["call"]["fault"] == "assertion"
    assert result["verdict"] == "failed"
    assert result["headline"].startswith("AssertionError: assert <Exec")
    assert result["conversations"][0]["status"] == "finished"
    assert result["llm"]["calls"] == {"scripted": 2}
    assert result["llm"]["tokens"] > 1000
    assert result["steps"] == 2
    (sandbox,) = result["sandboxes"]
    assert sandbox["state"] == "running"
    assert (sandbox["memory"], sandbox["pids"], sandbox["security"]) == ("4g", "1024", "default")
    assert sandbox["capabilities dropped"] == "ALL"
    assert sandbox["start_seconds"] > 0
    assert "+two" in (folder / "workspace.diff").read_text()
    assert "Uvicorn running" in (folder / "container.log").read_text()


def test_the_llm_calls_say_what_was_new_in_each(failed_run):
    project, _, _ = failed_run
    lines = (project.results[0] / "llm-calls.jsonl").read_text("utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["state"] for record in records] == ["asked", "answered"] * 2
    first, first_answer, second, _ = records
    assert [message["role"] for message in first["new_messages"]] == ["system", "user"]
    assert "terminal" in first["tools"]
    assert [message["role"] for message in second["new_messages"]] == ["assistant", "tool"]
    assert "DONE" in str(second["new_messages"])
    assert (second["repeated_messages"], second["tools"]) == (2, None)
    assert first_answer["origin"] == "scripted"
    assert first_answer["duration"] > 0
    assert "I will change it." in first_answer["answer"]


def test_the_pages_hold_the_story(failed_run):
    project, _, _ = failed_run
    (folder,) = project.results
    content = project.story
    kinds = {step["kind"] for step in content["steps"]}
    assert {"message", "tool", "llm", "state"} <= kinds
    (call,) = [step for step in content["steps"] if step["kind"] == "tool"]
    assert call["summary"] == "echo two >> keep.txt && echo DONE"
    assert 0 < call["duration"] < 30
    times = [step["time"] for step in content["steps"]]
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < content["duration"]
    (change,) = content["changes"]
    assert (change["path"], change["added"], change["removed"]) == ("keep.txt", 1, 0)
    assert [failure["phase"] for failure in content["failures"]] == ["call"]
    index = (folder.parent / "index.html").read_text("utf-8")
    assert f"{folder.name}/transcript.html" in index


def test_junit_xml_holds_the_sections(failed_run):
    project, _, _ = failed_run
    case = ElementTree.parse(project.folder / "junit.xml").find(".//testcase")
    assert case is not None
    assert "echo two >> keep.txt" in "".join(case.itertext())


def test_no_container_is_left(failed_run, sandboxes):
    project, _, _ = failed_run
    result = json.loads((project.results[0] / "result.json").read_text())
    assert result["sandboxes"][0]["container"] not in sandboxes()


@pytest.mark.usefixtures("agent_server_image")
def test_a_passed_test_leaves_a_line_in_the_runs_page(project):
    project.write("test_it.py", FAILING.replace("{status}", "finished"))
    code, output = project.run()
    assert code == 0
    assert "Captured" not in output
    assert project.results == []
    (row,) = project.rows
    assert (row["test"], row["verdict"], row["page"]) == ("test_it.py::test_agent", "passed", "")
    assert (row["steps"], row["llm_calls"]) == (2, 2)
    assert row["duration"] > row["startup"] > 0
    assert "0 of 1 sandbox test failed: agent-results" in output


def test_evidence_of_all_tests_or_of_none(project, served):
    project.write("test_it.py", FAILING.replace("{status}", "finished"))
    code, output = project.run("--sandbox-artifacts=all")
    assert code == 0
    assert "Captured" not in output
    (folder,) = project.results
    assert json.loads((folder / "result.json").read_text())["verdict"] == "passed"
    assert "+two" in (folder / "workspace.diff").read_text()
    assert (folder / "transcript.html").exists()
    project.write("test_it.py", FAILING.replace("{status}", "stuck"))
    shutil.rmtree(project.folder / "agent-results")
    code, output = project.run("--sandbox-artifacts=none")
    assert code == 1
    assert "result: DONE" in output
    assert "not kept (sandbox_artifacts = none)" in output
    assert not (project.folder / "agent-results").exists()


@pytest.mark.usefixtures("agent_server_image")
def test_evidence_is_kept_under_xdist(project):
    project.write("test_one.py", FAILING.replace("{status}", "stuck"))
    project.write("test_two.py", FAILING.replace("{status}", "stuck"))
    code, output = project.run("-n", "2")
    assert code == 1
    assert output.count("Captured stdout agent transcript teardown") == 2
    assert output.count("agent-sandbox: 2 tests on Docker ") == 1, "which it is, said once"
    assert output.index("agent-sandbox: 2 tests on Docker ") < output.index("2 workers [2 items]")
    assert len(project.results) == 2


@pytest.mark.usefixtures("agent_server_image")
def test_a_shared_workspace_without_an_agent_has_evidence_too(project):
    project.write(
        "test_it.py",
        "def test_x(shared_agent_workspace, subtests):\n"
        "    for number in range(2):\n"
        "        with subtests.test(str(number)):\n"
        "            assert 0\n",
    )
    code, output = project.run()
    assert code == 1
    (folder,) = project.results
    assert not (folder / "container-2.log").exists(), "kept once"
    (sandbox,) = json.loads((folder / "result.json").read_text())["sandboxes"]
    assert sandbox["state"] == "running"
    assert "Uvicorn running" in (folder / "container.log").read_text()
    assert str(folder / "transcript.html") in output


@pytest.mark.usefixtures("agent_server_image")
def test_results_of_an_earlier_run_are_cleared(project):
    project.write("test_it.py", "def test_x(sandbox_image): assert 0, 'first'")
    project.run()
    (first,) = project.results
    project.write("test_it.py", "def test_y(sandbox_image): assert 0, 'second'")
    project.run()
    (second,) = project.results
    assert first.name != second.name


@pytest.mark.usefixtures("served")
def test_each_attempt_at_a_flaky_test_has_its_own_evidence(project):
    pytest.importorskip("pytest_rerunfailures")
    project.write("pytest.ini", "[pytest]\n")
    project.write("test_it.py", "def test_x(agent_workspace): assert 0")
    _, output = project.run("--reruns", "1")
    assert "1 failed, 1 rerun" in output
    assert [path.name.partition("-attempt")[2] for path in project.results] == ["", "2"]
