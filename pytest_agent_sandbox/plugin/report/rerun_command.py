"""Command that runs one test again."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import pytest

from pytest_agent_sandbox.settings import kinds
from pytest_agent_sandbox.settings.engines import EngineSettings
from pytest_agent_sandbox.settings.setting import flag, ini_key
from pytest_agent_sandbox.settings.table import SETTINGS

#: Settings of the run without which the test is another one, or none: a trial, say.
_OF_THE_TEST = {"agent_trials", *(declared.name for declared in fields(EngineSettings))}


def rerun_command(config: pytest.Config, node_id: str) -> str:
    """Return the command, for a shell where pytest was started, with the settings given as flags.

    What came from the environment or the ini file is there the next time too.
    """
    return shlex.join(["pytest", _from_here(config, node_id), *_flags(config)])


def _from_here(config: pytest.Config, node_id: str) -> str:
    """Return the test's id as pytest takes it; by itself it starts from pytest's root folder."""
    started, root = config.invocation_params.dir, config.rootpath
    path, colons, name = node_id.partition("::")
    if started == root or not path:
        return node_id
    with suppress(ValueError):  # on Windows: on another drive
        path = Path(os.path.relpath(root / path, started)).as_posix()
    return f"{path}{colons}{name}"


def _flags(config: pytest.Config) -> Iterator[str]:
    for setting in SETTINGS:
        value = config.getoption(ini_key(setting))
        is_left_out = setting.run_wide and setting.name not in _OF_THE_TEST
        if value is None or is_left_out:
            continue
        if isinstance(value, bool):
            yield flag(setting) if value else flag(setting).replace("--", "--no-", 1)
        elif isinstance(value, tuple):
            # A comma is part of a regular expression.
            separator = "\n" if setting.parse is kinds.patterns else ","
            yield f"{flag(setting)}={separator.join(value)}"
        else:
            yield f"{flag(setting)}={value}"
