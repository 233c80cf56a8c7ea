"""Misspelled names of settings: a sandbox that lacks what its user believes it has is no good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from pytest_agent_sandbox.plugin.options import FLAG_BEGINNINGS
from pytest_agent_sandbox.settings.setting import flag, ini_key
from pytest_agent_sandbox.settings.suggest import meant
from pytest_agent_sandbox.settings.table import SETTINGS

_VARIABLE = "PYTEST_"
_KEYS = ("sand", "llm_", "agent_")


def check(environment: Mapping[str, str]) -> None:
    """Refuse environment variables that are nearly called as settings are.

    pytest itself warns of unknown ini keys.

    Raises:
        SettingsError: There is one; the message says what was meant.
    """
    known = [ini_key(setting) for setting in SETTINGS]
    for name in environment:
        key = name.removeprefix(_VARIABLE).lower()
        if name.startswith(_VARIABLE) and key.startswith(_KEYS) and key not in known:
            found = meant(key, known)
            if found:
                from pytest_agent_sandbox.errors import SettingsError

                raise SettingsError(
                    f"The environment variable {name} is no setting. Did you mean "
                    f"{_VARIABLE}{found.upper()}?"
                )


def check_flags(config: pytest.Config, parser: pytest.Parser, arguments: Sequence[str]) -> None:
    """Refuse flags that are nearly called as settings are, and are nobody else's.

    Raises:
        pytest.UsageError: There is one; the message says what was meant.
    """
    given = {
        argument.partition("=")[0] for argument in arguments if argument.startswith(FLAG_BEGINNINGS)
    }
    if not given:
        return
    flags = [flag(setting) for setting in SETTINGS]
    known = [*flags, *(one.replace("--", "--no-", 1) for one in flags)]
    if given <= set(known):
        return
    namespace = config.known_args_namespace
    _, unknown = parser.parse_known_and_unknown_args(list(arguments), namespace)
    for argument in unknown:
        name = argument.partition("=")[0]
        if name in given and (found := meant(name, known)):
            raise pytest.UsageError(f"unrecognized arguments: {name}. Did you mean {found}?")
