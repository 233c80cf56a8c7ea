"""What was meant by a misspelled word."""

import inspect
import re

import pytest

from pytest_agent_sandbox import DockerWorkspace, SandboxSettings, SettingsError
from pytest_agent_sandbox.plugin.options import for_test
from pytest_agent_sandbox.settings.suggest import did_you_mean, meant
from pytest_agent_sandbox.settings.table import SETTINGS

KNOWN = [setting.name for setting in SETTINGS]


@pytest.mark.parametrize(
    ("word", "found"),
    [("memroy", "memory"), ("memry", "memory"), ("isolaton", "isolation"), ("cpu", "cpus")],
)
def test_what_is_meant(word, found):
    assert meant(word, KNOWN) == found
    assert did_you_mean(word, KNOWN) == f"Did you mean {found!r}?"


@pytest.mark.parametrize("word", ["zzz", "", "temperature", "image_tag", "sandbox"])
def test_what_is_not_like_any(word):
    assert meant(word, KNOWN) == did_you_mean(word, KNOWN) == ""


@pytest.mark.parametrize("form", ["--sandbox-{}", "--no-sandbox-{}", "sandbox_{}"])
def test_a_common_beginning_makes_nothing_likely(form):
    known = [form.format(name) for name in KNOWN]
    assert meant(form.format("zzz"), known) == ""
    assert meant(form.format("memry"), known) == form.format("memory")
    assert meant(form.format("memory").replace("sandbox", "sanbox"), known) == form.format("memory")


def test_settings_and_markers():
    with pytest.raises(TypeError, match=re.escape("Did you mean 'memory'?")):
        SandboxSettings(memroy="1g")
    mark = pytest.mark.agent_sandbox(memroy="1g").mark
    with pytest.raises(SettingsError, match=r"unknown setting 'memroy'\. Did you mean 'memory'\?"):
        for_test(SandboxSettings(), [mark])
    mark = pytest.mark.agent_sandbox(zzz="1g").mark
    with pytest.raises(SettingsError, match=r"unknown setting 'zzz'\. Known are .*memory"):
        for_test(SandboxSettings(), [mark])


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("isolation", "recyled", "recycled"),
        ("security", "strct", "strict"),
        ("pull", "nevr", "never"),
    ],
)
def test_values(name, value, found):
    with pytest.raises(SettingsError, match=f"must be one of .*Did you mean '{found}'"):
        SandboxSettings().with_overrides({name: value}, source="here")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("memroy", "memory"),
        ("image", "server_image"),
        ("pids", "pids_limit"),
        ("gpu", "enable_gpu"),
        ("start_timeout", "health_check_timeout"),
    ],
)
def test_arguments_of_docker_workspace(name, found):
    said = (
        rf"DockerWorkspace\(\) got an unexpected keyword argument '{name}'\. Did you mean '{found}'"
    )
    with pytest.raises(TypeError, match=said):
        DockerWorkspace(**{name: "x"})
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'zzz'$"):
        DockerWorkspace(zzz=1)


def test_all_arguments_of_docker_workspace_are_known():
    names = set(inspect.signature(DockerWorkspace.__init__).parameters) - {"self"}
    assert {"server_image", "memory", "gateway", "isolation"} <= names
    assert names == set(inspect.getfullargspec(inspect.unwrap(DockerWorkspace.__init__)).kwonlyargs)
