"""Tests that are tried several times, as a user runs them."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest

from pytest_agent_sandbox.trials.statistics import wilson_interval
from tests.support.project import Project

#: An agent that fails one time in four, as far as pytest can see.
LUCK = """
import random
import pytest

@pytest.mark.agent_trials(n=10, pass_rate=0.6)
@pytest.mark.parametrize("group", range(80))
def test_luck(group, agent_trial):
    assert random.Random(f"{group} {agent_trial}").random() >= 0.25, "no luck"
"""

VERDICT = re.compile(
    r"test_it\.py::test_luck\[(\d+)\]: (PASSED|FAILED): (\d+) of (\d+) trials passed"
)

AGENT = """
import pytest
from pytest_agent_sandbox import say

@pytest.mark.agent_trials(n=4, pass_rate=0.75)
def test_agent(agent_workspace, agent_llm, agent_conversation, agent_trial):
    word = "wrong" if agent_trial in {failing} else "right"
    agent_llm.script([say(word)])
    conversation = agent_conversation()
    conversation.send_message("Say it.")
    conversation.run(timeout=60)
    assert conversation.events.final_message == "right"
"""

#: The sandbox of one dies once, that of the other one always, as far as the test can tell.
DIES = """
import pathlib
import pytest
from pytest_agent_sandbox.errors import SandboxDied

@pytest.mark.agent_trials(n=3)
@pytest.mark.parametrize("most", [1, 99])
def test_dies(agent_workspace, agent_trial, most):
    deaths = pathlib.Path(__file__).with_name(f"deaths{most}")
    with deaths.open("a") as file:
        file.write(f"{agent_trial} ")
    if agent_trial == 2 and deaths.read_text().count("2") <= most:
        if most > 1:
            raise SandboxDied("It has died.")  # and is there all the same, to be used again
        agent_workspace.container.remove()
        agent_workspace.execute_command("true")
"""


def summary(output: str) -> str:
    return output.strip().splitlines()[-1]


def verdicts(project: Project) -> list[dict]:
    lines = (project.folder / "agent-results" / "trials.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_80_groups_of_an_agent_that_fails_one_time_in_four(project):
    project.write("test_it.py", LUCK)
    code, output = project.run("-q", "-v")
    found = VERDICT.findall(output)
    assert code == 1
    assert len(found) == 80
    passed = sum(verdict == "PASSED" for _, verdict, _, _ in found)
    # With all ten trials 92.2% of the groups pass, stopped early 91.5%. Three standard deviations.
    assert 66 <= passed <= 80
    assert f"{80 - passed} failed" in summary(output)
    trials = sum(int(counted) for _, _, _, counted in found)
    assert trials < 0.7 * 800
    assert summary(output).count(f"{800 - trials} skipped") == 1
    # An early stop leaves few trials, and the interval as good as it says: it holds the true rate.
    holds = 0
    for _, _, good, counted in found:
        low, high = wilson_interval(int(good), int(counted))
        holds += low <= 0.75 <= high
    assert holds >= 0.9 * 80

    code, output = project.run("-q", "-v", "-n", "2")
    assert code == 1
    assert set(VERDICT.findall(output)) == set(found)
    assert not [path for path in project.scratch.rglob("*") if path.is_file()]


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["locally", "with workers"])
def test_a_trial_may_fail(project, options, served):
    project.write("test_it.py", AGENT.format(failing={1}))
    code, output = project.run("-v", "--junitxml=junit.xml", "--html=report.html", *options)
    assert code == 0
    assert "test_it.py::test_agent: PASSED: 3 of 4 trials passed (75%, with 95%" in output
    assert "0 of 4 sandbox tests failed" in output
    assert re.search(r" 3 passed, 1 xfailed", summary(output))  # as the verdict says
    (group,) = verdicts(project)
    assert (group["verdict"], group["passed"], group["counted"]) == ("passed", 3, 4)
    assert group["pass_at"] == [0.75, 1.0, 1.0, 1.0]
    # The trial that failed has left its evidence, with its number in the name.
    (folder,) = project.results
    assert "test_agent-trial1" in folder.name
    cases = ElementTree.parse(project.folder / "junit.xml").iter("testcase")
    by_name = {case.attrib["name"]: case for case in cases}
    assert set(by_name) == {"test_agent", *(f"test_agent[trial{n}]" for n in range(1, 5))}
    properties = {
        p.attrib["name"]: p.attrib["value"] for p in by_name["test_agent"].iter("property")
    }
    assert properties["agent_trials_passed"] == "3"
    assert by_name["test_agent[trial1]"].find("skipped").attrib["type"] == "pytest.xfail"
    shown = {row["test"]: row["tolerated"] for row in project.index_rows}
    assert shown["test_it.py::test_agent[trial1]"]
    assert (project.folder / "report.html").exists()


def test_a_test_fails_where_too_few_trials_pass(project, served):
    project.write("test_it.py", AGENT.format(failing={1, 2, 3}))
    code, output = project.run("--junitxml=junit.xml")
    assert code == 1
    assert "1 failed" in summary(output)
    assert "0 of 2 trials passed (0%, with 95% confidence 0% to 66%); 75% are wanted" in output
    # What happened in one of them, and where the others are.
    assert "trial 2: AssertionError: assert 'wrong' == 'right'" in output
    assert "This is trial 1:" in output
    assert output.count("Captured stdout agent transcript teardown") == 1
    assert output.count("transcript.html") >= 3
    assert "2 of 4 sandbox tests failed" in output


@pytest.fixture(scope="module")
def died(agent_server_image, tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("died"))
    project.environment |= {"PYTEST_SANDBOX_ISOLATION": "recycled", "COLUMNS": "200"}
    project.write("test_it.py", DIES)
    code, output = project.run("-v")
    assert code == 1
    assert "3 rerun" in summary(output)
    return project, output


def test_a_sandbox_that_dies_is_not_the_agents_failure(died):
    project, output = died
    assert re.search(
        r"test_it\.py::test_dies\[1\]: PASSED: 3 of 3 trials passed.*\n"
        r".*1 failed sandbox, tried again\n",
        output,
    )
    assert "test_it.py::test_dies[1-" not in output.partition("short test summary")[2]
    (group,) = [group for group in verdicts(project) if "[1]" in group["test"]]
    assert (group["verdict"], group["passed"], group["counted"], group["faults"]) == (
        "passed",
        3,
        3,
        1,
    )
    attempts = [row["attempt"] for row in project.rows if "[1-trial2]" in row["test"]]
    assert attempts == [1, 2]


def test_a_sandbox_that_always_dies_fails_the_run_and_counts_for_nothing(died):
    _, output = died
    assert "test_it.py::test_dies[99]: PASSED: 2 of 2 trials passed" in output
    assert "1 trial said nothing of the agent" in output
    assert re.search(r"FAILED test_it\.py::test_dies\[99-trial2\] - .*sandbox\.SandboxDied", output)
    assert "fault: the sandbox" in output


SOME = """
import pytest

@pytest.mark.agent_trials(n=5, pass_rate=0.8)
@pytest.mark.parametrize("word", ["a", "b"])
def test_word(word, agent_trial):
    assert word == "a" or agent_trial == 1

class TestClass:
    @pytest.mark.agent_trials(n=3)
    def test_method(self):
        pass

def test_once(agent_trial):
    assert agent_trial == 1
"""


def test_each_trial_is_an_item_that_can_be_chosen(project):
    project.write("test_it.py", SOME)
    code, output = project.run("--collect-only", "-q", "-k", "trial2 or once")
    assert code == 0
    for name in ("test_word[a-trial2]", "test_word[b-trial2]", "TestClass::test_method[trial2]"):
        assert f"test_it.py::{name}" in output
    assert "test_it.py::test_once\n" in output
    assert "trial1" not in output
    code, output = project.run("-v", "test_it.py::test_word[b-trial1]")
    assert code == 0
    assert "test_it.py::test_word[b]: PASSED: 1 of 1 trial passed" in output
    assert "1 of 5 were selected" in output


def test_last_failed_runs_all_trials_of_the_test(project):
    project.write("test_it.py", SOME)
    project.blocked.remove("cacheprovider")
    for options in ((), ("-n", "2")):
        code, output = project.run("-q", *options)
        assert code == 1
        code, output = project.run("-v", "--lf")
        assert code == 1
        assert "run-last-failure: rerun previous 5 failures" in output
        assert re.search(r"1 failed, 1 passed, 2 skipped, \d+ deselected, 2 xfailed", output)
        assert "test_it.py::test_word[b]: FAILED" in output
    project.write("test_it.py", SOME.replace('word == "a" or', "True or"))
    assert project.run("-q", "--lf")[0] == 0
    assert "no previously failed tests" in project.run("--lf")[1]


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["locally", "with a worker"])
def test_exit_first_ends_the_run_at_a_verdict_not_at_a_trial(project, options):
    project.write("test_it.py", SOME + "\n\ndef test_last():\n    print('last')\n" * 20)
    project.write("test_a.py", SOME.replace("n=5", "n=2").replace('word == "a" or', "False and"))
    code, output = project.run("-v", "-x", *options)
    assert code != 0
    assert "test_a.py::test_word[a]: FAILED" in output
    assert "test_it.py" not in output.partition("agent trials")[0].partition("test_a.py")[0]
    assert re.search(r"stopping after [12] failures", output)  # a worker is one test ahead


def test_the_command_line_says_how_often(project, served):
    project.write("test_it.py", SOME + AGENT.format(failing={3}))
    code, output = project.run("-v", "--agent-trials=3", "--sandbox-isolation=recycled")
    assert code == 1
    # What has no sandbox and no marker runs once; with the flag no trial is spared.
    assert "test_it.py::test_word[b]: FAILED: 1 of 3 trials passed" in output
    assert "test_it.py::test_once PASSED" in output
    assert "test_it.py::test_agent: FAILED: 2 of 3 trials passed" in output
    project.write(
        "test_it.py", AGENT.format(failing={2}).replace("@pytest.mark.agent_trials", "# ")
    )
    project.write("pytest.ini", "[pytest]\nagent_trials = 2\n")
    code, output = project.run("-v", "--sandbox-isolation=recycled")
    assert code == 1
    assert "FAILED: 1 of 2 trials passed (50%" in output
    assert "--agent-trials" not in output
    assert "test_it.py::test_agent[trial2]' --sandbox-isolation" in project.story["rerun"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("5", "it takes keyword arguments only: n=5, pass_rate=0.8"),
        ("n=0", "n=0 must be a whole number above 0"),
        ("n='5'", "n='5' must be a whole number above 0"),
        ("pass_rate=80", "pass_rate=80 must be above 0, and 1 at most: 0.8 is four of five"),
        ("pass_rate=0", "pass_rate=0 must be above 0"),
        ("passrate=0.8", "unknown argument 'passrate'. Did you mean 'pass_rate'?"),
        ("early_stop='no'", "early_stop='no' must be True or False"),
    ],
)
def test_a_marker_that_makes_no_sense(project, arguments, problem):
    project.write(
        "test_it.py",
        f"import pytest\n\n@pytest.mark.agent_trials({arguments})\ndef test_x(): ...\n",
    )
    code, output = project.run()
    assert code == 2
    assert f"@pytest.mark.agent_trials: {problem}" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("value", ["0", "many"])
def test_a_number_that_is_none(project, value):
    project.write("test_it.py", SOME)
    code, output = project.run(f"--agent-trials={value}")
    assert code == 4
    assert "must be a whole number above 0" in output
    project.environment["PYTEST_AGENT_TRIALS"] = value
    project.write("test_it.py", AGENT.format(failing={1}))
    code, output = project.run()
    assert code == 4
    assert f"PYTEST_AGENT_TRIALS={value}: must be a whole number above 0" in output


CRASHES = """
import os, pathlib, time
import pytest

@pytest.mark.agent_trials(n=4, pass_rate=0.5, early_stop=False)
def test_it(agent_trial):
    if agent_trial == 1:
        time.sleep(0.5)
        os._exit(3)
"""


def test_a_worker_that_crashes_loses_its_trial_and_no_verdict(project):
    project.write("test_it.py", CRASHES)
    code, output = project.run("-n", "2")
    assert code == 1
    assert "crashed while running 'test_it.py::test_it[trial1]'" in output
    assert "test_it.py::test_it: PASSED: 3 of 3 trials passed" in output
    assert "1 trial said nothing of the agent" in output


FIXTURE = """
import pathlib
import pytest
from pytest_agent_sandbox.errors import SandboxDied

@pytest.fixture(scope="module")
def place(sandbox_image):
    calls = pathlib.Path(__file__).with_name("calls")
    with calls.open("a") as file:
        file.write("x")
    if len(calls.read_text()) < 3:
        raise SandboxDied("It has died.")

@pytest.mark.agent_trials(n=2)
def test_it(place):
    pass
"""


@pytest.mark.usefixtures("agent_server_image")
def test_a_fixture_of_a_module_is_made_anew_after_its_sandbox_failed(project):
    project.write("test_it.py", FIXTURE)
    code, output = project.run("-v")
    assert code == 0
    assert "test_it.py::test_it: PASSED: 2 of 2 trials passed" in output
    assert "2 failed sandboxes, tried again" in output


def test_stepwise_goes_on_at_the_test_that_failed(project):
    project.blocked.remove("cacheprovider")
    project.write("test_it.py", SOME)
    assert project.run("-q", "--sw")[0] != 0
    _, output = project.run("-v", "--sw")
    assert "test_word[a-trial" not in output
    assert "test_word[b-trial1]" in output


def test_it_goes_with_reruns(project):
    project.write("test_it.py", SOME)
    code, output = project.run("-v", "--reruns=1")
    assert code == 1
    assert "test_it.py::test_word[b]: FAILED: 1 of 3 trials passed" in output


def test_two_runs_are_compared(project, served):
    agent = AGENT.replace("n=4, pass_rate=0.75", "n=6, pass_rate=0.5, early_stop=False")
    for output_folder, failing in (("a", set()), ("b", {1, 2, 3, 4, 5, 6})):
        project.write("test_it.py", agent.format(failing=failing or "()"))
        project.run("-q", f"--sandbox-output={output_folder}")
    from pytest_agent_sandbox.cli import main

    printed = project.folder / "printed"
    with printed.open("w") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", file)
        assert main(["compare", str(project.folder / "a"), str(project.folder / "b")]) == 0
    text = printed.read_text()
    assert "test_it.py::test_agent" in text
    assert re.search(r"passed +6/6 \(61% to 100%\) +0/6 \(0% to 39%\)  lower \(p = ", text)
    assert re.search(r"steps +1\.0 +1\.0\n", text)
    assert "1 test in both" in text
