"""The settings as pytest knows them: options, ini keys, and the markers of tests.

Standard library and pytest only: every run of pytest imports this module, in every project that has
the plugin installed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from pytest_agent_sandbox.settings import kinds
from pytest_agent_sandbox.settings.setting import Setting, checked, flag, ini_key
from pytest_agent_sandbox.settings.table import SETTINGS, SandboxSettings

MARKER = "agent_sandbox"
TRIALS_MARKER = "agent_trials"
SERVICES_MARKER = "agent_services"
#: Its arguments that are no services.
NO_SERVICES = ("scope", "reset")
#: How long a sandbox may be for the tests of `agent_workspace`, in pytest's words.
SCOPES = ("function", "class", "module", "package", "session")
#: How flags begin that may be meant for us.
FLAG_BEGINNINGS = ("--sand", "--no-sand", "--llm-", "--no-llm-", "--agent-")
_FIRST_WORKER = "gw0"
#: What trials are parametrized by.
TRIAL_FIXTURE = "agent_trial"

_TRIALS = next(setting for setting in SETTINGS if setting.name == "agent_trials")


def _argument_type(setting: Setting) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            return setting.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} {error}") from None

    return parse


def add_options(parser: pytest.Parser) -> None:
    """Declare each setting as a command-line option and an ini key."""
    group = parser.getgroup("agent-sandbox", "AI agents in real sandboxes")
    for setting in SETTINGS:
        help_text = setting.help
        value: dict[str, Any] = (
            {"action": argparse.BooleanOptionalAction}  # --sandbox-gpu, --no-sandbox-gpu
            if setting.parse is kinds.switch
            else {"type": _argument_type(setting), "metavar": setting.metavar}
        )
        group.addoption(flag(setting), dest=ini_key(setting), default=None, help=help_text, **value)
        parser.addini(ini_key(setting), help_text, type="string", default=None)


def resolve(config: pytest.Config, environment: Mapping[str, str] | None = None) -> SandboxSettings:
    """Return the settings of this run, from flags, environment and ini file.

    Raises:
        SettingsError: A value cannot be used, or a name is misspelled; the message names where it
            stands.
    """
    environment = os.environ if environment is None else environment
    from pytest_agent_sandbox.plugin import misspelled

    misspelled.check(environment)
    settings = SandboxSettings()
    for setting in SETTINGS:
        given = _given(setting, config, environment)
        if given is not None:
            settings = replace(settings, **{setting.name: given[0]})
    return settings


def is_first_worker(config: pytest.Config) -> bool:
    """Tell whether this process is the first of xdist's workers, whose header is shown."""
    return getattr(config, "workerinput", {}).get("workerid") == _FIRST_WORKER


def trials(config: pytest.Config) -> int | None:
    """Return how often each test is to be run, where the run says so.

    Raises:
        pytest.UsageError: The value cannot be used.
    """
    given = _said(_TRIALS, config, os.environ)
    if given is None or given[1] is None:
        return None if given is None else given[0]
    try:  # without our own errors, which most runs have no use for
        return int(_TRIALS.parse(given[0]))
    except ValueError as error:
        raise pytest.UsageError(f"{given[1]}: {error}") from None


def _given(
    setting: Setting, config: pytest.Config, environment: Mapping[str, str]
) -> tuple[Any] | None:
    """Return the value that flag, environment or ini file give a setting, in a tuple; else None."""
    said = _said(setting, config, environment)
    if said is None:
        return None
    value, where = said
    return (value if where is None else checked(setting, value, where),)


def _said(
    setting: Setting, config: pytest.Config, environment: Mapping[str, str]
) -> tuple[Any, str | None] | None:
    """Return a flag's value, and None; or the text in environment or ini file, and its place."""
    key = ini_key(setting)
    given = config.getoption(key)
    if given is not None:
        return given, None
    variable = f"PYTEST_{key.upper()}"
    text = environment.get(variable, "")
    if text != "":
        return text, f"{variable}={text}"
    if config.getini(key):
        text = str(config.getini(key))
        return text, f"{key} = {text} in {config.inipath}"
    return None


def for_test(settings: SandboxSettings, markers: Iterable[pytest.Mark]) -> SandboxSettings:
    """Return the settings of one test: the run's, changed by its `agent_sandbox` markers.

    Args:
        settings: The settings of the run.
        markers: The test's markers, the closest first, as `Node.iter_markers` gives them.

    Raises:
        SettingsError: A marker has a positional argument, an unknown name or a wrong value.
    """
    for marker in reversed(list(markers)):
        scope = marker.kwargs.get("scope", "function")
        if scope not in SCOPES:
            from pytest_agent_sandbox.errors import SettingsError

            raise SettingsError(
                f"@pytest.mark.{MARKER} scope={scope!r}: there is no such scope; give one of "
                f"{', '.join(SCOPES)}"
            )
        if marker.args:
            from pytest_agent_sandbox.errors import SettingsError

            raise SettingsError(
                f"@pytest.mark.{MARKER} takes keyword arguments only, such as memory='2g'"
            )
        given = {name: value for name, value in marker.kwargs.items() if name != "scope"}
        settings = settings.with_overrides(given, source=f"@pytest.mark.{MARKER}")
    return settings


def host_name(keyword: str) -> str:
    """Return the host name that a keyword argument means: names of Python have no hyphen."""
    return keyword.replace("_", "-")


def scope_of(markers: Iterable[pytest.Mark]) -> str:
    """Return the scope that the closest marker with one gives a test's `agent_workspace`.

    Args:
        markers: The test's markers, the closest first.
    """
    given = (marker.kwargs["scope"] for marker in markers if "scope" in marker.kwargs)
    return str(next(given, SCOPES[0]))
