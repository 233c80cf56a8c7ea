"""Trials beside what else pytest has: subtests, marks, fixtures, options. No test has a sandbox."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

HEAD = "import time\nimport unittest\nimport pytest\n\nT = pytest.mark.agent_trials\n\n"


@pytest.fixture
def run(project):
    """Runs a file's tests."""

    def run(text: str, *options: str) -> tuple[int, str]:
        project.write("test_it.py", HEAD + text)
        return project.run("-v", *options)

    return run


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["locally", "workers"])
def test_a_failed_subtest_is_a_failed_trial_and_no_failure_of_the_run(run, workers):
    code, output = run(
        """
@T(n=3, pass_rate=0.6, early_stop=False)
def test_it(agent_trial, subtests):
    with subtests.test("first"):
        assert agent_trial != 2, "the second never does"

@T(n=2)
def test_never(subtests):
    with subtests.test():
        assert False, "not once"
    with subtests.test():
        assert True
""",
        *workers,
    )
    assert code == 1
    assert "test_it.py::test_it: PASSED: 2 of 3 trials passed" in output
    assert "XFAIL (trial failed: AssertionError: the" in output or workers
    assert "test_it.py::test_never: FAILED: 0 of 1 trial passed" in output
    assert output.count("This is trial ") == 1
    assert "assert False" in output
    assert re.search(r"1 failed, 2 passed, (1 skipped, )?[46] xfailed", output)


@pytest.mark.parametrize("option", ["-x", "--sw"])
def test_fixtures_that_end_with_the_verdict_may_fail(project, run, option):
    project.blocked.remove("cacheprovider")
    code, output = run(
        """
@pytest.fixture(scope="module")
def place():
    yield
    raise RuntimeError("it does not end")

@T(n=3)
def test_it(place): assert False

def test_next(place): pass
""",
        option,
    )
    assert code == 1 if option == "-x" else 2
    assert "ERROR at teardown of test_it[trial1]" in output
    assert "1 failed, 1 xfailed, 1 error" in output
    assert "test_next" not in output.partition("FAILURES")[2]


def test_a_thousand_trials(run):
    code, output = run("@T(n=1500, pass_rate=0.5)\ndef test_it(): pass\n", "-q", "--tb=no")
    assert code == 0
    assert re.search(r"test_it: PASSED: \d+ of \d+ trials passed \(100%, with", output)


def test_what_is_expected_to_fail(run):
    code, output = run("""
@pytest.mark.xfail(reason="known", strict=False)
@T(n=4, pass_rate=0.8, early_stop=False)
def test_fails(agent_trial): assert agent_trial == 1

@pytest.mark.xfail(reason="known", strict=True)
@T(n=2)
def test_must_fail(): assert False

@pytest.mark.xfail(strict=False)
@T(n=2)
def test_passes(): pass
""")
    assert code == 0
    assert "test_it.py::test_fails: FAILED: 1 of 4 trials passed" in output
    assert re.search(r"^test_it\.py::test_fails XFAIL \(known\)", output, re.MULTILINE)
    assert re.search(r"^test_it\.py::test_must_fail XFAIL \(known\)", output, re.MULTILINE)
    assert re.search(r"^test_it\.py::test_passes XPASS", output, re.MULTILINE)


MUST_FAIL = """
@pytest.mark.xfail(reason="known", strict=True)
@T(n=2)
def test_passes(): pass

@pytest.mark.xfail(raises=ValueError, strict=False)
@T(n=2)
def test_fails_otherwise(): assert False
"""


def test_what_is_expected_to_fail_otherwise_has_failed(run):
    code, output = run(MUST_FAIL)
    assert code == 1
    assert "[XPASS(strict)] known" in output
    assert "FAILED test_it.py::test_passes" in output
    assert "FAILED test_it.py::test_fails_otherwise" in output
    assert "test_it.py::test_fails_otherwise: FAILED: 0 of 1 trial passed" in output
    code, output = run(MUST_FAIL, "--runxfail")
    assert "test_it.py::test_passes PASSED" in output
    assert "FAILED test_it.py::test_fails_otherwise" in output


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["locally", "workers"])
def test_a_marker_that_has_no_effect_fails_its_test(run, workers):
    code, output = run(
        """
class TestIt(unittest.TestCase):
    @T(n=3)
    def test_x(self): pass

@pytest.mark.parametrize("x", [1, pytest.param(2, marks=T(n=3))])
def test_some(x): pass

@T(n=2)
@pytest.mark.parametrize("x", [pytest.param(1, marks=T(n=2, pass_rate=0.5))])
def test_other(x): assert False
""",
        *workers,
    )
    assert code == 1
    text = "@pytest.mark.agent_trials has no effect here. It belongs on a function, a class"
    assert output.count(text) == 4
    for name in ("TestIt::test_x", "test_some[2]", "test_other[1-trial1]"):
        assert f"ERROR test_it.py::{name}" in output
    assert "1 passed, 4 errors" in output
    assert "INTERNALERROR" not in output


def test_tests_that_share_a_name_have_a_verdict_each(run):
    code, output = run(
        """
@T(n=2, early_stop=False)
@pytest.mark.parametrize("y", ["b-c", "c"])
@pytest.mark.parametrize("x", ["a", "a-b"])
def test_it(x, y): assert x == "a"
""",
        "-k",
        "a-b-c",
    )
    assert code == 1
    assert "test_it.py::test_it[a-b-c]: PASSED: 2 of 2 trials passed" in output
    assert "test_it.py::test_it[a-b-c] (2): FAILED: 0 of 2 trials passed" in output


def test_a_plugin_may_add_parameters_later(project, run):
    project.write(
        "conftest.py",
        "import pytest\n\n@pytest.hookimpl(trylast=True)\n"
        "def pytest_generate_tests(metafunc):\n"
        "    if 'database' in metafunc.fixturenames:\n"
        "        metafunc.parametrize('database', ['postgres', 'trial1'])\n",
    )
    code, output = run("""
@T(n=3, pass_rate=0.3, early_stop=False)
def test_it(database, agent_trial): assert agent_trial == 3
""")
    assert code == 0
    for name in ("postgres", "trial1"):
        assert f"test_it.py::test_it[{name}]: PASSED: 1 of 3 trials passed" in output
    code, output = run("def test_it(agent_trial): assert agent_trial < 3\n")
    assert code == 0


def test_groups_of_xdist_with_odd_names(run):
    text = """
@pytest.mark.xdist_group("db/1 [a]:b")
@T(n=3, pass_rate=0.3, early_stop=False)
def test_it(agent_trial): assert agent_trial == 3
"""
    code, output = run(text, "-n", "2", "--dist=loadgroup")
    assert code == 0
    assert "test_it.py::test_it: PASSED: 1 of 3 trials passed" in output


def test_a_parameter_of_the_same_name_is_the_tests_own(run):
    code, output = run(
        '@pytest.mark.parametrize("agent_trial", [1, 2])\n'
        "def test_it(agent_trial): assert agent_trial in (1, 2)\n\n"
        '@pytest.mark.parametrize("agent_trial", [3], indirect=True)\n'
        "def test_its_own(agent_trial): assert agent_trial == 3\n"
    )
    assert code == 0
    assert "3 passed" in output
    assert "agent trials" not in output


LUCKY = """
import os
@T(n=4, pass_rate=0.75, early_stop=False)
def test_it(agent_trial):
    if agent_trial == 3 and "INTERRUPTED" in os.environ:
        raise KeyboardInterrupt
    assert agent_trial > int(os.environ.get("BAD", "2"))
"""


def test_last_failed_is_about_all_trials(project, run):
    project.blocked.remove("cacheprovider")
    assert run(LUCKY)[0] == 1
    # An interrupted run, and one of some of the trials, leave the test as it was: failed.
    project.environment["INTERRUPTED"] = "1"
    assert project.run("--lf")[0] == 2
    del project.environment["INTERRUPTED"]
    assert "FAILED: 2 of 4 trials passed" in project.run("--lf")[1]
    assert project.run("-k", "trial3")[0] == 0
    code, output = project.run("--lf")
    assert code == 1
    assert "FAILED: 2 of 4 trials passed" in output
    project.environment["BAD"] = "1"
    assert project.run("--lf")[0] == 0
    assert "no previously failed tests" in project.run("--lf")[1]


def test_an_error_in_the_teardown_has_all_trials_run_again(project, run):
    project.blocked.remove("cacheprovider")
    code, output = run("""
@pytest.fixture
def place(agent_trial):
    yield
    assert agent_trial != 1

@T(n=2, pass_rate=0.5, early_stop=False)
def test_it(place, agent_trial): assert agent_trial == 2
""")
    assert code == 1
    assert "test_it.py::test_it: PASSED: 1 of 2 trials passed" in output
    _, output = project.run("--lf")
    assert "test_it.py::test_it: PASSED: 1 of 2 trials passed" in output


def test_the_failure_shows_a_trial_that_counts(run):
    _, output = run(
        """
@T(n=3)
def test_it(agent_trial):
    print(f"printed by {agent_trial}")
    time.sleep(2 if agent_trial == 1 else 0)
    assert False, f"I am {agent_trial}"
""",
        "-n",
        "2",
    )
    assert "This is trial 1:" in output
    assert "printed by 1" in output.partition("FAILURES")[2]
    assert "I am 2" not in output.partition("FAILURES")[2].partition("short test summary")[0]


SANDBOX_FAILS = """
import pathlib
from pytest_agent_sandbox.errors import SandboxDied

@pytest.fixture
def place(agent_trial, request):
    if "setup" in request.node.name and is_first(f"setup{agent_trial}"):
        raise SandboxDied("It has died.")

def is_first(name):
    file = pathlib.Path(__file__).with_name(name)
    if file.exists():
        return False
    file.touch()
    return True

@T(n=2)
def test_setup(place, sandbox_settings): pass

@T(n=2)
def test_call(agent_trial):
    if is_first(f"call{agent_trial}"):
        raise SandboxDied("It has died.")

@T(n=2)
def test_subtest(agent_trial, subtests):
    with subtests.test():
        if is_first(f"subtest{agent_trial}"):
            raise SandboxDied("It has died.")

def test_that_wants_a_sandbox(sandbox_image): pass
"""


@pytest.mark.usefixtures("agent_server_image")
def test_sandbox_faults_are_shown_without_another_plugin(project):
    project.write("test_it.py", HEAD + SANDBOX_FAILS)
    project.blocked.append("rerunfailures")
    code, output = project.run("--sandbox-image=no/such:image", "--sandbox-pull=never")
    assert code == 0
    assert "6 rerun" in output
    assert output.partition("test_it.py ")[2].startswith("R.R.R.R.R.R.. ")
    for name in ("setup", "call", "subtest"):
        assert f"test_it.py::test_{name}: PASSED: 2 of 2 trials passed" in output
    assert output.count("2 failed sandboxes, tried again") == 3


def test_a_bad_setting_concerns_nobody_without_a_sandbox(project, run):
    project.environment["PYTEST_SANDBOX_KEEP"] = "foo"
    code, output = run("@T(n=2)\ndef test_it(): pass\n")
    assert code == 0
    assert "test_it.py::test_it: PASSED: 2 of 2 trials passed" in output


def test_a_rate_is_not_rounded_to_all_or_none(run):
    _, output = run(
        "@T(n=300, early_stop=False)\ndef test_it(agent_trial): assert agent_trial != 9\n", "-q"
    )
    assert "FAILED: 299 of 300 trials passed (99.67%, with 95% confidence" in output


@pytest.mark.parametrize("option", ["--setup-plan", "--setup-only"])
def test_nothing_is_judged_where_nothing_runs(run, option):
    code, output = run("@T(n=2)\ndef test_it(): pass\n", option)
    assert code == 0
    assert "agent trials" not in output


def test_nothing_is_left_of_a_run_that_ends_in_its_first_trial(project, run):
    code, _ = run("@T(n=2)\ndef test_it(): raise KeyboardInterrupt\n")
    assert code == 2
    assert not list(Path(project.scratch).rglob("*trials*"))


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["locally", "workers"])
def test_nothing_is_left_of_a_run_that_breaks_off(project, run, workers):
    project.write(
        "conftest.py",
        "def pytest_runtest_logreport(report):\n    raise ValueError('a broken conftest.py')\n",
    )
    code, output = run("@T(n=2)\ndef test_it(): pass\n", *workers)
    assert code == 3
    assert "a broken conftest.py" in output
    assert not list(Path(project.scratch).rglob("*trials*"))


@pytest.mark.skipif(os.name != "posix", reason="about links of POSIX")
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["locally", "workers"])
def test_nothing_is_told_in_a_folder_that_somebody_else_may_have_made(project, run, workers):
    folder = Path(project.scratch, f"pytest-agent-sandbox-{os.geteuid()}")
    elsewhere = project.folder.with_name("elsewhere")
    elsewhere.mkdir(mode=0o700)
    folder.symlink_to(elsewhere)
    code, output = run("@T(n=2)\ndef test_it(): pass\n", *workers)
    assert code == 1
    assert "2 errors in" in output
    assert f"SandboxError: The lock folder {folder} is a link, so it is not used" in output
    assert not list(elsewhere.iterdir())
