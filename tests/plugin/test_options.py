"""Settings: where they come from, which wins, and what a wrong one says."""

import json
import os

import pytest

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.plugin.options import for_test, resolve
from pytest_agent_sandbox.settings.kinds import switch
from pytest_agent_sandbox.settings.table import SETTINGS, SandboxSettings

SHOW = """
    import dataclasses, json
    def test_show(sandbox_settings):
        print("SETTINGS", json.dumps(dataclasses.asdict(sandbox_settings)))
"""


def shown(result: pytest.RunResult, name: str) -> object:
    line = next(line for line in result.outlines if "SETTINGS " in line)
    return json.loads(line.partition("SETTINGS ")[2])[name]


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch):
    for name in os.environ:
        if name.startswith(("PYTEST_SANDBOX_", "PYTEST_LLM_")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("flag", "environment", "ini", "expected"),
    [
        ("1g", "2g", "3g", "1g"),
        (None, "2g", "3g", "2g"),
        (None, None, "3g", "3g"),
        (None, None, None, None),
    ],
)
def test_flag_then_environment_then_ini_then_default(
    pytester, monkeypatch, flag, environment, ini, expected
):
    pytester.makepyfile(SHOW)
    if ini:
        pytester.makeini(f"[pytest]\nsandbox_memory = {ini}\n")
    if environment:
        monkeypatch.setenv("PYTEST_SANDBOX_MEMORY", environment)
    arguments = [f"--sandbox-memory={flag}"] if flag else []
    result = pytester.runpytest_inprocess("-s", *arguments)
    result.assert_outcomes(passed=1)
    assert shown(result, "memory") == expected


def test_the_marker_wins_and_the_closest_marker_most():
    run = SandboxSettings(memory="1g", cpus=1.0)
    markers = [
        pytest.mark.agent_sandbox(memory="3g").mark,  # on the function: iter_markers gives it first
        pytest.mark.agent_sandbox(memory="2g", pids=100).mark,
    ]
    settings = for_test(run, markers)
    assert (settings.memory, settings.pids, settings.cpus) == ("3g", 100, 1.0)


def test_a_list_in_the_ini_file_may_take_several_lines(pytester):
    pytester.makepyfile(SHOW)
    pytester.makeini("[pytest]\nsandbox_forward_env =\n    ONE\n    TWO, THREE\n")
    result = pytester.runpytest_inprocess("-s")
    assert shown(result, "forward_env") == ["ONE", "TWO", "THREE"]


def test_a_wrong_flag_names_the_flag(pytester):
    result = pytester.runpytest_inprocess("--sandbox-memory=lots")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--sandbox-memory: 'lots' must be a size such as 512m or 2g*"])


@pytest.mark.parametrize("place", ["environment", "ini"])
def test_a_wrong_value_elsewhere_names_its_place(pytester, monkeypatch, place):
    pytester.makepyfile("def test_x(agent_workspace): pass")
    if place == "environment":
        monkeypatch.setenv("PYTEST_SANDBOX_CPUS", "many")
        expected = "*PYTEST_SANDBOX_CPUS=many: must be a number above 0*"
    else:
        path = pytester.makeini("[pytest]\nsandbox_cpus = many\n")
        expected = f"*sandbox_cpus = many in {path}: must be a number above 0*"
    result = pytester.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([expected])
    assert "Traceback" not in str(result.stderr)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"memry": "2g"}, "unknown setting 'memry'"),
        ({"memory": "plenty"}, "memory='plenty': must be a size"),
        ({"pids": 0}, "pids=0: must be a whole number above 0"),
        ({"pull": "sometimes"}, "must be one of missing, always, never"),
    ],
)
def test_a_wrong_marker_says_what_is_wrong(kwargs, message):
    with pytest.raises(SettingsError, match=message):
        for_test(SandboxSettings(), [pytest.mark.agent_sandbox(**kwargs).mark])


@pytest.mark.parametrize("value", ["a..b", ".a", "a.", "a b"])
def test_a_field_has_a_name(value):
    with pytest.raises(SettingsError, match=r"llm_volatile_fields.*must be names such as"):
        for_test(SandboxSettings(), [pytest.mark.agent_sandbox(llm_volatile_fields=value).mark])
    settings = for_test(
        SandboxSettings(), [pytest.mark.agent_sandbox(llm_volatile_fields="a, b.c").mark]
    )
    assert settings.llm_volatile_fields == ("a", "b.c")


@pytest.mark.parametrize("value", ["/files", "files/", "a//b", "..", "a/../b", "v1 files", "a%2f"])
def test_a_path_that_is_allowed_is_in_whole_segments(value):
    with pytest.raises(SettingsError, match=r"llm_allow_paths.*must be names such as files"):
        for_test(SandboxSettings(), [pytest.mark.agent_sandbox(llm_allow_paths=value).mark])
    marker = pytest.mark.agent_sandbox(llm_allow_paths="files, messages/batches")
    assert for_test(SandboxSettings(), [marker.mark]).llm_allow_paths == (
        "files",
        "messages/batches",
    )


def test_a_marker_with_a_positional_argument_is_refused():
    with pytest.raises(SettingsError, match="keyword arguments only"):
        for_test(SandboxSettings(), [pytest.mark.agent_sandbox("2g").mark])


def test_every_setting_has_a_flag_and_help(pytester):
    result = pytester.runpytest_inprocess("--help")
    output = str(result.stdout)
    for field in SETTINGS:
        key = field.name if field.name.startswith(("agent_", "llm_")) else f"sandbox_{field.name}"
        flag = f"--{key.replace('_', '-')}"
        takes_value = field.parse is not switch
        assert (f"{flag}=" if takes_value else f"{flag}, --no-{flag[2:]}") in output
        assert f"{key} (string):" in output


def test_the_environment_can_be_given(pytester):
    config = pytester.parseconfig()
    assert resolve(config, {"PYTEST_SANDBOX_GPU": "yes"}).gpu is True
    with pytest.raises(SettingsError, match="PYTEST_SANDBOX_GPU=maybe: must be true or false"):
        resolve(config, {"PYTEST_SANDBOX_GPU": "maybe"})
