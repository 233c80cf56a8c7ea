"""The same failing tests, seen everywhere that people look, locally and with workers."""

import json
import re
from html import unescape
from xml.etree import ElementTree

import pytest

from tests.support.project import Project

SUITE = """
import pytest
from pytest_agent_sandbox import say, tool

@pytest.mark.parametrize("word", ["a/b", "a-b"])
def test_word(word, agent_workspace, agent_llm, agent_conversation):
    agent_llm.script([tool("terminal", command=f"echo {word} | tee OUT.txt"), say("Done.")])
    conversation = agent_conversation()
    conversation.send_message("Write it.")
    conversation.run(timeout=60)
    assert "other" in agent_workspace.read_text("OUT.txt"), "the word is another"

@pytest.fixture
def broken(agent_workspace):
    agent_workspace.write_text("made.txt", "x")
    raise RuntimeError("no set-up")

def test_setup_fails(broken):
    pass

@pytest.fixture
def breaks_later(agent_workspace):
    yield
    raise RuntimeError("no tear-down")

def test_teardown_fails(breaks_later):
    pass

def test_passes(agent_workspace):
    pass
"""
FAILED = ["test_word[a/b]", "test_word[a-b]", "test_setup_fails", "test_teardown_fails"]


class Everywhere:
    def __init__(self, folder, *arguments):
        self.project = Project(folder)
        self.project.blocked = ["cacheprovider", "asyncio", "syrupy"]
        self.summary = folder / "summary.md"
        self.project.environment |= {
            "GITHUB_ACTIONS": "true",
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_WORKSPACE": str(folder.parent),
        }
        # Recycled, to be quick; and to be seen everywhere too.
        ini = "[pytest]\njunit_logging = all\nsandbox_isolation = recycled\n"
        self.project.write("pytest.ini", ini)
        self.project.write("test_it.py", SUITE)
        self.code, self.output = self.project.run(
            "--junitxml=out/junit.xml", "--html=out/report.html", "--alluredir=allure", *arguments
        )
        self.pages = {row["test"].partition("::")[2]: row["page"] for row in self.project.rows}

    def page(self, test):
        return self.project.folder / "agent-results" / self.pages[test]


@pytest.fixture(scope="module", params=[(), ("-n", "2")], ids=["locally", "with workers"])
def run(agent_server_image, request, tmp_path_factory):
    return Everywhere(tmp_path_factory.mktemp("everywhere"), *request.param)


def test_the_terminal(run):
    assert run.code == 1
    assert run.output.count("Captured stdout agent evidence ") == len(FAILED)
    assert "echo a/b | tee OUT.txt" in run.output
    assert "4 of 5 sandbox tests failed: agent-results" in run.output
    for test in FAILED:
        assert str(run.page(test)) in run.output


def test_the_runs_page_and_a_page_for_each(run):
    verdicts = {row["test"].partition("::")[2]: row["verdict"] for row in run.project.rows}
    assert verdicts == {**dict.fromkeys(FAILED, "failed"), "test_passes": "passed"}
    assert all(run.page(test).exists() for test in FAILED)
    assert len({run.pages[test] for test in FAILED}) == len(FAILED)
    assert run.pages["test_passes"] == ""
    index = (run.project.folder / "agent-results" / "index.html").read_text("utf-8")
    assert all(run.pages[test] in index for test in FAILED)
    workers = {row["worker"] for row in run.project.rows}
    assert workers in ({""}, {"gw0", "gw1"})


def test_junit_xml(run):
    cases = ElementTree.parse(run.project.folder / "out" / "junit.xml").findall(".//testcase")
    found = {}
    for case in cases:
        properties = {one.get("name"): one.get("value") for one in case.iter("property")}
        if "agent_evidence" in properties:
            found[case.get("name")] = (properties, "".join(case.itertext()))
    assert set(found) == set(FAILED)
    for test, (properties, text) in found.items():
        assert properties["agent_evidence"] == f"agent-results/{run.pages[test]}"
        assert properties["agent_fault"] == ("assertion" if "word" in test else "test")
        assert str(run.page(test)) in text
    assert "tee OUT.txt" in found["test_word[a-b]"][1]


def test_pytest_html(run):
    report = (run.project.folder / "out" / "report.html").read_text("utf-8")
    data = json.loads(unescape(re.search(r'data-jsonblob="(.*?)"', report, re.S)[1]))
    rows = [row for rows in data["tests"].values() for row in rows]
    links = [
        extra["content"]
        for row in rows
        for extra in row.get("extras", [])
        if extra["name"] == "Agent transcript"
    ]
    # A test that fails in its tear-down has two rows: it has passed, too.
    assert set(links) == {f"../agent-results/{run.pages[test]}" for test in FAILED}
    assert any("tee OUT.txt" in str(row.get("log")) for row in rows)


def test_allure(run):
    results = {}
    for file in (run.project.folder / "allure").glob("*-result.json"):
        result = json.loads(file.read_text("utf-8"))
        results[result["name"]] = {one["name"]: one for one in result.get("attachments", [])}
    for test in FAILED:
        attachments = results[test]
        page = attachments["agent transcript.html"]
        assert page["type"] == "text/html"
        stored = run.project.folder / "allure" / page["source"]
        assert stored.read_bytes() == run.page(test).read_bytes()
    assert "agent workspace.diff" in results["test_word[a/b]"]
    assert not results["test_passes"]


def test_github_actions(run):
    summary = run.summary.read_text("utf-8")
    assert "Agent sandbox: 4 of 5 tests failed" in summary
    assert summary.count("❌") == 4
    commands = [line for line in run.output.splitlines() if line.startswith("::error ")]
    assert len(commands) == 4
    (one,) = [command for command in commands if "[a/b]" in command]
    folder = run.project.folder.name
    assert one.startswith(f"::error file={folder}/test_it.py,line=5,title=test_it.py%3A%3Atest_")
    assert one.endswith("the word is another (fault: assertion)")


def test_each_attempt_has_a_row_and_a_page(project, served):
    project.write("pytest.ini", "[pytest]\n")
    project.write("test_it.py", "def test_x(agent_workspace): assert 0")
    _, output = project.run("--reruns", "1", "--html=report.html", "--junitxml=junit.xml")
    assert "1 failed, 1 rerun" in output
    assert [row["attempt"] for row in project.rows] == [1, 2]
    assert all((project.folder / "agent-results" / row["page"]).exists() for row in project.rows)
    assert "1 of 1 sandbox test failed" in output
    assert [row["superseded"] for row in project.index_rows] == [True, False]


def test_a_flaky_test_has_not_failed(project, served):
    project.environment["GITHUB_ACTIONS"] = "true"
    project.write("pytest.ini", "[pytest]\n")
    project.write(
        "test_it.py",
        "from pathlib import Path\n"
        "def test_x(agent_workspace):\n"
        "    once = Path('once')\n"
        "    if not once.exists():\n"
        "        once.touch()\n"
        "        assert 0\n",
    )
    code, output = project.run("--reruns", "1")
    assert code == 0
    assert "0 of 1 sandbox test failed" in output
    assert "::error" not in output
    (folder,) = project.results
    assert (folder / "transcript.html").exists()
