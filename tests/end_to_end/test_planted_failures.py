"""Three planted failures in real sandboxes, and whether one look at what they leave tells why."""

import json
import re

import pytest
from playwright.sync_api import expect

from tests.support.project import Project

SUITE = """
import pytest
from pytest_agent_sandbox import say, tool

def run(agent_llm, agent_conversation, task, *replies):
    agent_llm.script(list(replies))
    conversation = agent_conversation()
    conversation.send_message(task)
    conversation.run(timeout=120)

def test_wrong_file(agent_workspace, agent_llm, agent_conversation):
    run(
        agent_llm, agent_conversation, "Write Lagos to report/largest.txt.",
        tool("terminal", command="mkdir -p reports && echo Lagos > reports/largest.txt"),
        say("Written."),
    )
    assert agent_workspace.execute_command("cat report/largest.txt").stdout == "Lagos\\n"

def test_error_ignored(agent_workspace, agent_llm, agent_conversation):
    agent_workspace.write_text("release.sh", "echo 'no release date' >&2; exit 3\\n")
    run(
        agent_llm, agent_conversation, "Release by release.sh.",
        tool("terminal", command="sh release.sh"), say("Released."),
    )
    assert agent_workspace.execute_command("test -f RELEASED").exit_code == 0

@pytest.mark.agent_sandbox(memory="600m")
def test_memory(agent_workspace, agent_llm, agent_conversation):
    agent_workspace.write_text("sum.py", "numbers = [str(n) * 20 for n in range(60_000_000)]\\n")
    run(
        agent_llm, agent_conversation, "Run sum.py.",
        tool("terminal", command="python3 sum.py"), say("Done."),
    )
    assert 0, "the program has not run"
"""


@pytest.fixture(scope="module")
def planted(agent_server_image, tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("planted"))
    project.environment["PYTEST_SANDBOX_ISOLATION"] = "recycled"
    project.write("test_it.py", SUITE)
    _, output = project.run()
    folders = {row["test"].rpartition("::")[2]: row["page"] for row in project.rows}
    return project.folder / "agent-results", folders, output


def story(planted, test):
    results, pages, _ = planted
    page = (results / pages[test]).read_text("utf-8")
    return json.loads(re.search(r'<script[^>]*id="story"[^>]*>(.*?)</script>', page, re.S)[1])


def test_a_wrong_file_written(planted):
    told = story(planted, "test_wrong_file")
    assert told["fault"] == "assertion"
    (hint,) = told["hints"]
    assert hint["text"].startswith("The test's own command failed: cat report/largest.txt (exit ")
    assert "No such file" in hint["text"]
    assert told["steps"][hint["step"] - 1]["kind"] == "test"
    assert ["asked", "Write Lagos to report/largest.txt."] in told["brief"]
    assert ["changed", "added reports/largest.txt"] in told["brief"]
    assert told["code"].startswith("assert agent_workspace.execute_command(")
    assert [(change["path"], change["status"]) for change in told["changes"]] == [
        ("reports/largest.txt", "added")
    ]
    assert "added     reports/largest.txt  +1 -0" in planted[2]


def test_a_tools_error_ignored(planted):
    told = story(planted, "test_error_ignored")
    call, own = told["hints"]
    assert call["text"] == (
        "A tool call failed: terminal: sh release.sh (exit code 3): no release date"
    )
    assert told["steps"][call["step"] - 1]["summary"] == "sh release.sh"
    assert own["text"] == "The test's own command failed: test -f RELEASED (exit code 1)."
    assert ["agent said last", "Released."] in told["brief"]
    assert ["changed", "nothing on disk"] in told["brief"]
    assert "no release date" in planted[2]
    assert "terminal  sh release.sh  [exit 3]" in planted[2]


def test_memory_ran_out(planted):
    told = story(planted, "test_memory")
    (hint,) = told["hints"]
    assert hint["text"] == (
        "Memory ran out in the sandbox (limit: 600m) while terminal: python3 sum.py ran; the "
        "kernel killed a process, and the sandbox ended with exit code 137."
    )
    step = told["steps"][hint["step"] - 1]
    assert step["is_error"]
    assert step["duration"] > 0
    (sandbox,) = [one for one in told["environment"] if one["title"].startswith("Sandbox")]
    assert ["out of memory", "yes"] in sandbox["facts"]
    assert ["memory", "600m"] in sandbox["facts"]
    assert "note:  Memory ran out" in planted[2]


def test_the_pages_open_from_their_files(planted, browser):
    results, pages, _ = planted
    page = browser.new_page()
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto((results / "index.html").as_uri())
    for test in pages:
        page.get_by_role("link", name=f"test_it.py::{test}").click()
        headline = story(planted, test)["headline"]
        expect(page.get_by_role("heading", level=1)).to_have_text(headline)
        for hint in story(planted, test)["hints"]:
            expect(page.get_by_text(hint["text"])).to_be_visible()
            page.get_by_role("link", name=f"step {hint['step']}", exact=True).first.click()
            expect(page.locator(f"#step-{hint['step']} .step-body")).to_be_visible()
        page.get_by_role("link", name="All tests").click()
    page.close()
    assert complaints == []
    expected = {(results / page).as_uri() for page in pages.values()}
    assert {request.partition("#")[0] for request in requests} == {
        *expected,
        (results / "index.html").as_uri(),
    }
