"""The class of settings, as users meet it."""

import copy
import dataclasses
import pickle

import pytest

from pytest_agent_sandbox.settings.table import SETTINGS, SandboxSettings


class Own(SandboxSettings):
    """A user's."""


@pytest.mark.parametrize("kind", [SandboxSettings, Own])
def test_what_is_not_given_has_its_default(kind):
    settings = kind(memory="1g")
    assert settings.memory == "1g"
    for setting in SETTINGS:
        if setting.name != "memory":
            assert getattr(settings, setting.name) == setting.default


@pytest.mark.parametrize("kind", [SandboxSettings, Own])
def test_it_is_a_dataclass(kind):
    settings = dataclasses.replace(kind(memory="1g"), cpus=2)
    assert (settings.memory, settings.cpus) == ("1g", 2)
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    assert defaults == {setting.name: setting.default for setting in SETTINGS}


def test_copies():
    for settings in (
        copy.deepcopy(SandboxSettings(cpus=2)),
        pickle.loads(pickle.dumps(Own(cpus=2))),
    ):
        assert settings.cpus == 2


def test_an_unknown_setting():
    with pytest.raises(TypeError, match="has no setting 'memroy'"):
        SandboxSettings(memroy="1g")
