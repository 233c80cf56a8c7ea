"""Evidence where something else goes wrong too. Most need an image only, and no sandbox."""

import json
import re
import sys
from html import unescape

import pytest

from pytest_agent_sandbox.evidence.results_table import rows
from pytest_agent_sandbox.plugin.report.live_terminal import LiveTerminal
from pytest_agent_sandbox.plugin.session import SandboxSession
from pytest_agent_sandbox.settings.table import SandboxSettings
from tests.support.project import Project

pytest_plugins = ["pytester"]

KEY = "sk-a-key-that-nobody-may-see"

SUITE = """
import os, sys, time
import pytest

KEY = os.environ["LLM_API_KEY"]

@pytest.mark.parametrize("word", [KEY, KEY + "0"], ids=lambda word: word)
def test_secrets(sandbox_image, word):
    print("out", KEY)
    print("err", KEY, file=sys.stderr)
    here = {"key": KEY}
    try:
        raise ValueError(KEY)
    except ValueError as error:
        error.add_note(KEY)
        assert here == {}, "text " + KEY

def test_a_secret_in_a_reason(sandbox_image):
    pytest.skip("because of " + KEY)

def test_subtests(sandbox_image, subtests):
    with subtests.test("one"):
        assert 0, "first words"
    with subtests.test("two"):
        assert 0, "second words"
    time.sleep(0.3)

class Odd(Exception):
    args = property(lambda self: [KEY])
    __notes__ = (1,)

def test_an_odd_error(sandbox_image):
    raise Odd

def test_takes_too_long(sandbox_image):
    pytest.fail("Timeout (>1.0s) from pytest-timeout.")

@pytest.mark.xfail(strict=True, reason="not yet")
def test_passes_too_early(sandbox_image):
    pass

def test_another_folder(sandbox_image, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert 0
"""


@pytest.fixture(scope="module")
def run(agent_server_image, tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("edges"))
    project.environment["LLM_API_KEY"] = KEY
    project.write("pytest.ini", "[pytest]\njunit_logging = all\n")
    project.write("test_it.py", SUITE)
    _, project.output = project.run(
        "-rA",
        "--showlocals",
        "--junitxml=out/junit.xml",
        "--html=out/report.html",
        "--alluredir=allure",
    )
    return project


def row(project, test):
    (found,) = [row for row in project.rows if row["test"].partition("::")[2] == test]
    return found


def test_a_secret_is_nowhere(run):
    assert "INTERNALERROR" not in run.output
    assert "text ***" in run.output
    assert "because of ***" in run.output
    output = run.folder / "agent-results"
    assert not any(KEY in str(path.relative_to(run.folder)) for path in output.rglob("*"))
    assert not any(KEY in path.read_text("utf-8") for path in output.rglob("*") if path.is_file())
    # pytest's own id of the test is all that is left.
    mine = f"test_secrets[{KEY}"
    for text in (
        run.output,
        (run.folder / "out" / "junit.xml").read_text("utf-8"),
        unescape((run.folder / "out" / "report.html").read_text("utf-8")),
    ):
        assert KEY not in text.replace(mine, "")


def test_tests_that_differ_in_a_secret_have_folders_of_their_own(run):
    pages = [row["page"] for row in run.rows if "test_secrets" in row["test"]]
    assert len(set(pages)) == 2
    assert all((run.folder / "agent-results" / page).exists() for page in pages)


def test_all_failed_subtests_are_in_the_page(run):
    found = row(run, "test_subtests")
    page = (run.folder / "agent-results" / found["page"]).read_text("utf-8")
    assert "first words" in page
    assert "second words" in page
    assert "first words" in found["headline"]
    assert found["duration"] > 0.3


def test_a_test_that_passes_and_must_not_says_so(run):
    (row,) = [row for row in run.rows if "too_early" in row["test"]]
    assert (row["verdict"], row["fault"]) == ("failed", "assertion")
    assert row["headline"] == "[XPASS(strict)] not yet"


def test_a_timeout_is_no_assertion(run):
    assert row(run, "test_takes_too_long")["fault"] == "test"


def test_the_link_where_a_test_has_left_its_folder(run):
    assert "could not be" not in run.output
    report = unescape((run.folder / "out" / "report.html").read_text("utf-8"))
    assert f'"../agent-results/{row(run, "test_another_folder")["page"]}"' in report
    assert "7 of 8 sandbox tests failed: agent-results" in run.output


@pytest.mark.usefixtures("agent_server_image")
def test_an_attachment_that_fails_costs_nothing_else(project):
    project.write("test_it.py", "def test_x(sandbox_image): assert 0")
    project.write(
        "conftest.py",
        "import allure\n"
        "def broken(*_, **__):\n    raise RuntimeError('no attachments')\n"
        "allure.attach.file = broken\n",
    )
    _, output = project.run("--alluredir=allure")
    assert "could not be attached: RuntimeError: no attachments" in output
    assert "fault: an assertion did not hold" in output
    assert project.results[0].name in output


@pytest.mark.usefixtures("agent_server_image")
def test_a_folder_that_is_removed_meanwhile_is_made_anew(project):
    project.write(
        "test_it.py",
        "import shutil\n"
        "def test_a(sandbox_image):\n    shutil.rmtree('agent-results')\n    assert 0\n"
        "def test_b(sandbox_image): assert 0\n",
    )
    _, output = project.run()
    assert "could not be kept" in output
    assert project.index_rows[-1]["test"] == "test_it.py::test_b"
    project.write("test_it.py", "def test_c(sandbox_image): assert 0\n")
    project.run()
    assert [row["test"] for row in project.index_rows] == ["test_it.py::test_c"]


@pytest.mark.usefixtures("agent_server_image")
def test_a_folder_that_another_run_takes(project):
    project.write(
        "test_it.py",
        "from pathlib import Path\n"
        "def test_x(sandbox_image):\n"
        "    Path('agent-results/.agent-results').write_text('another')\n",
    )
    code, output = project.run()
    assert code == 0
    assert "another run of pytest has taken over" in output
    assert "--sandbox-output" in output


TWO_RUNS = """
import subprocess
import sys

def test_first(agent_workspace, agent_llm, agent_conversation):
    agent_llm.script([tool("terminal", command="echo one"), say("Done.")])
    conversation = agent_conversation()
    conversation.send_message("Do it.")
    options = ["-pno:asyncio", "-pno:syrupy", "-k", "second"]
    subprocess.run([sys.executable, "-m", "pytest", *options], check=False)
    conversation.run(timeout=60)
    assert 0, "the first run's"

def test_second(sandbox_image):
    assert 0, "the second run's"
"""


@pytest.mark.usefixtures("recycled")
def test_two_runs_at_once_keep_what_each_has(project):
    project.write("test_it.py", f"from pytest_agent_sandbox import say, tool\n{TWO_RUNS}")
    _, output = project.run("-k", "first", "-p", "no:logging")
    assert "Traceback" not in output
    said = "another run of pytest was using agent-results, so this one's results are in agent-"
    assert output.count(said) == 1
    for name in ("agent-results", "agent-results-2"):
        assert f"agent-sandbox: 1 of 1 sandbox test failed: {name}/index.html" in output
    assert [row["test"] for row in project.index_rows] == ["test_it.py::test_first"]
    (second,) = rows(project.folder / "agent-results-2")
    assert second.headline == "AssertionError: the second run's"
    assert "echo one" in json.dumps(project.story)


@pytest.mark.usefixtures("served")
def test_evidence_that_cannot_be_kept_is_told_of_once(project):
    project.write(
        "test_it.py",
        "import shutil\n"
        "def test_a(agent_workspace):\n"
        "    shutil.rmtree('agent-results')\n"
        "    for _ in range(3): agent_workspace.execute_command('true')\n"
        "    assert 0\n",
    )
    _, output = project.run("-rN")
    assert output.count("evidence of this test could not be kept") == 1
    assert "Traceback" not in output


@pytest.mark.usefixtures("agent_server_image")
def test_a_page_that_cannot_be_written_is_told_of(project):
    project.write(
        "test_it.py",
        "from pathlib import Path\n"
        "def test_x(sandbox_image):\n    Path('agent-results/index.html').mkdir()\n",
    )
    code, output = project.run()
    assert code == 0
    assert "agent-sandbox: the run's results could not be written: " in output


INTERRUPTED = """
import os
import pytest

@pytest.fixture
def interrupted(sandbox_image):
    yield
    raise KeyboardInterrupt

def test_fails_first(interrupted):
    assert 0, "this first"

def test_dies(sandbox_image):
    os._exit(3)
"""


@pytest.mark.usefixtures("agent_server_image")
def test_a_failure_is_kept_also_where_the_test_does_not_end(project):
    project.write("test_it.py", INTERRUPTED)
    code, output = project.run("-k", "fails_first")
    assert code == 2
    assert "1 of 1 sandbox test failed: agent-results" in output
    (folder,) = project.results
    result = json.loads((folder / "result.json").read_text("utf-8"))
    assert (result["verdict"], result["fault"]) == ("failed", "assertion")
    assert result["headline"] == "AssertionError: this first"

    code, _ = project.run("--setup-plan")
    assert code == 0
    assert project.results == [folder], "nothing was run, so nothing was cleared"


@pytest.mark.usefixtures("agent_server_image")
def test_a_test_that_killed_its_worker_is_told_of(project):
    project.environment |= {
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(project.folder / "summary.md"),
    }
    project.write("test_it.py", INTERRUPTED)
    _, output = project.run("-n", "1", "-k", "dies")
    assert "0 of 1 sandbox test failed, 1 did not come to its end: agent-results" in output
    assert re.search(
        r"^::error file=.*test_dies::The test did not come to its end\.$", output, re.M
    )
    summary = (project.folder / "summary.md").read_text("utf-8")
    assert "1 test, none failed, 1 did not come to its end" in summary


@pytest.mark.usefixtures("agent_server_image")
def test_sections_keep_their_lines_where_the_terminal_knows_few_characters(project):
    project.environment["PYTHONIOENCODING"] = "ascii"
    project.write("test_it.py", "def test_x(sandbox_image): assert 0, 'caf\\u00e9 \\u2192'")
    project.write(
        "conftest.py",
        "from pytest_agent_sandbox.evidence import sections\n"
        "sections.transcript = lambda story: 'one \\u2192\\ntwo'\n",
    )
    _, output = project.run()
    assert "one \\u2192\ntwo\n" in output


ASKING = """
import pytest

def test_by_name(request):
    request.getfixturevalue("agent_workspace")

def test_a_network(agent_workspace_factory):
    agent_workspace_factory(network="no-such-network")

@pytest.mark.agent_sandbox(network="no-such-network")
def test_a_network_in_a_marker(agent_workspace):
    pass
"""


@pytest.mark.usefixtures("agent_server_image")
def test_errors_of_ours_end_at_the_users_own_line(project):
    project.write("test_it.py", ASKING)
    _, output = project.run("-k", "network")
    assert "contextlib" not in output
    assert ">       agent_workspace_factory(network=" in output
    assert "test_it.py:8: SandboxError" in output
    summary = [line for line in output.splitlines() if line.startswith(("ERROR ", "FAILED "))]
    assert all(" - pytest_agent_sandbox.S" in line for line in summary)
    assert len(summary) == 2

    project.environment["DOCKER_HOST"] = "unix:///nonexistent"
    _, output = project.run("-k", "by_name")
    assert "No container engine answers" in output
    assert "fixtures.py" not in output
    assert "test_it.py:5: EngineUnavailable" in output
    _, output = project.run("-rs", "--sandbox-no-engine=skip")
    assert "sandbox_no_engine = skip: No container engine answers. Tried:" in output


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break otherwise there")
def test_the_live_view_outlives_its_reader(pytestconfig, monkeypatch):
    import os

    reader, writer = os.pipe()
    monkeypatch.setattr("pytest_agent_sandbox.plugin.report.live_terminal.os.dup", lambda _: writer)
    with LiveTerminal.of(pytestconfig) as terminal:
        os.close(reader)
        show = terminal.view("test_x", 1, str)
        show(_message("one"))
        show(_message("two"))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(writer)


def test_the_live_view_takes_any_event(pytestconfig, caplog):
    with LiveTerminal.of(pytestconfig) as terminal:
        terminal.view("test_x", 1, str)(object())
    assert "an event could not be shown" in caplog.text


def test_the_live_view_has_pytests_colours_and_no_secrets(pytestconfig, tmp_path):
    for color, wanted in [("yes", True), ("no", False), ("auto", False)]:
        with (tmp_path / color).open("w+", encoding="utf-8") as file:
            view = LiveTerminal(file, "gw0", color).view("test[a-secret]", 1, _mask)
            view(_message("one"))
            file.seek(0)
            shown = file.read()
        assert ("\x1b[" in shown) == wanted
        assert "[gw0 test[***]]" in shown


def test_no_live_view_where_there_is_no_terminal(pytester, monkeypatch):
    def closed(_):
        raise OSError("Bad file descriptor")

    session = SandboxSession(pytester.parseconfig(), SandboxSettings(live=True))
    monkeypatch.setattr("pytest_agent_sandbox.plugin.report.live_terminal.os.dup", closed)
    assert session.evidence.live_view is None
    monkeypatch.undo()
    session.close()


def _mask(text):
    return text.replace("a-secret", "***")


def _message(text):
    from pytest_agent_sandbox.client.events import parse_event

    content = [{"type": "text", "text": text}]
    return parse_event(
        {
            "kind": "MessageEvent",
            "id": text,
            "source": "user",
            "timestamp": "2026-01-01T00:00:00",
            "llm_message": {"role": "user", "content": content},
        }
    )
