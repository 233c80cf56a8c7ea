"""`agent-sandbox completion`: a script that has a shell complete the commands and options."""

from __future__ import annotations

import argparse
from typing import Literal

from pytest_agent_sandbox.errors import SettingsError

Shell = Literal["bash", "zsh", "tcsh"]
SHELLS: tuple[Shell, ...] = ("bash", "zsh", "tcsh")

#: The arguments that are files or folders.
_PATHS = {"path", "A", "B", "ca_bundle", "pod_template", "arguments"}


def completion(parser: argparse.ArgumentParser, shell: Shell) -> str:
    """Return the script.

    Args:
        parser: The command line.
        shell: Whose script it is.

    Raises:
        SettingsError: What makes it is not installed.
    """
    try:
        import shtab
    except ImportError:
        raise SettingsError(
            "completion needs shtab: pip install 'pytest-agent-sandbox[completion]'"
        ) from None
    _mark_paths(parser, shtab.FILE)
    return str(shtab.complete(parser, shell))


def _mark_paths(parser: argparse.ArgumentParser, kind: object) -> None:
    for action in parser._actions:  # argparse has no other way to ask
        if isinstance(action, argparse._SubParsersAction):
            for command in set(action.choices.values()):
                _mark_paths(command, kind)
        elif action.dest in _PATHS:
            action.complete = kind  # type: ignore[attr-defined]
