"""The command that runs one test again."""

import shlex

import pytest

from pytest_agent_sandbox.plugin.report.rerun_command import rerun_command
from pytest_agent_sandbox.settings.engines import EngineSettings
from pytest_agent_sandbox.settings.setting import flag
from pytest_agent_sandbox.settings.table import SETTINGS

pytest_plugins = ["pytester"]


@pytest.fixture
def command(pytester, monkeypatch):
    """The words of the command, after a run with some arguments."""
    for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
        monkeypatch.delenv(name, raising=False)

    def command(*arguments, node_id="t.py::test_x"):
        config = pytester.parseconfig(*arguments)
        return shlex.split(rerun_command(config, node_id))

    return command


def test_without_flags(command):
    assert command() == ["pytest", "t.py::test_x"]


def test_settings_that_were_given_as_flags_come_again(command):
    flags = [
        "--sandbox-memory=2g",
        "--sandbox-cpus=1.5",
        "--sandbox-pids=100",
        "--sandbox-volumes=/a:/b,/c:/d:ro",
        "--sandbox-forward-env=A,B",
        "--sandbox-gpu",
        "--no-sandbox-extra-ports",
        "--llm-record=all",
        "--llm-max-cost=0.5",
    ]
    assert set(command(*flags)[2:]) == set(flags)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--sandbox-output=elsewhere"],
        ["--sandbox-artifacts=all"],
        ["--sandbox-live"],
        ["--sandbox-no-engine=skip"],
        ["-v", "-x", "--tb=short"],
    ],
)
def test_what_is_for_the_run_as_a_whole_does_not(command, arguments):
    assert command(*arguments) == ["pytest", "t.py::test_x"]


def test_where_the_sandbox_was_comes_again(command):
    """Each setting of engines, those that come later too."""
    given = [f"{flag(each)}=3" for each in SETTINGS if each.name in vars(EngineSettings())]
    assert "--sandbox-pod-template=3" in given
    assert set(command(*given)[2:]) == set(given)


def test_environment_and_ini_file_are_there_the_next_time_too(command, pytester, monkeypatch):
    pytester.makeini("[pytest]\nsandbox_memory = 2g\n")
    monkeypatch.setenv("PYTEST_SANDBOX_CPUS", "2")
    assert command() == ["pytest", "t.py::test_x"]


@pytest.mark.parametrize(
    "node_id",
    [
        "t.py::test_x[a b]",
        "t.py::test_x['\"$HOME`id`;&|*?!]",
        "dir with space/t.py::TestX::test_x[--x]",
        "t.py::test_x[\\n\u00e4]",
    ],
)
def test_any_name_gets_through_a_shell(command, node_id):
    assert command(node_id=node_id) == ["pytest", node_id]


@pytest.mark.parametrize(
    "given",
    [
        "--llm-volatile=id-[0-9]{2,8}",
        "--llm-volatile=a, b\nc|d",
        "--sandbox-memory=512m",
        "--sandbox-forward-env=ONE,TWO",
    ],
)
def test_the_command_means_the_same_as_what_was_given(command, pytester, given):
    words = command(given)
    name = given.removeprefix("--").partition("=")[0].replace("-", "_")
    again = pytester.parseconfig(*words[2:])
    assert again.getoption(name) == pytester.parseconfig(given).getoption(name)
    assert again.getoption(name)


def test_from_another_folder(pytester, monkeypatch):
    for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(pytester.mkdir("sub"))
    config = pytester.parseconfig(f"--rootdir={pytester.path}")
    assert rerun_command(config, "sub/t.py::test_x[a::b]") == "pytest 't.py::test_x[a::b]'"
    assert rerun_command(config, "other/t.py::test_x") == "pytest ../other/t.py::test_x"
