"""The command that runs one test again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import fields

import pytest

from pytest_agent_sandbox import option_types as types
from pytest_agent_sandbox.options import RUN_WIDE, SandboxSettings, flag, ini_key


def rerun_command(config: pytest.Config, node_id: str) -> str:
    """The command, for a shell in pytest's root folder, with the settings that were given as flags.

    What came from the environment or the ini file is there the next time too.
    """
    return shlex.join(["pytest", node_id, *_flags(config)])


def _flags(config: pytest.Config) -> Iterator[str]:
    for setting in fields(SandboxSettings):
        value = config.getoption(ini_key(setting))
        if value is None or setting.name in RUN_WIDE:
            continue
        if isinstance(value, bool):
            yield flag(setting) if value else flag(setting).replace("--", "--no-", 1)
        elif isinstance(value, tuple):
            # A comma is part of a regular expression.
            separator = "\n" if setting.metadata["parse"] is types.patterns else ","
            yield f"{flag(setting)}={separator.join(value)}"
        else:
            yield f"{flag(setting)}={value}"
