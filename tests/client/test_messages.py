"""Errors of a workspace that explain themselves: one message, and no traceback chained to it."""

import traceback

import pytest

from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import SettingsError


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ["git", "commit", "-m", "a b"],
            "not a list of words; as one it is \"git commit -m 'a b'\"",
        ),
        (("ls",), "not a list of words; as one it is 'ls'"),
        (b"ls", "not bytes"),
        ([1], "not list"),
        (None, "not NoneType"),
    ],
)
def test_a_command_that_is_not_one_text(command, said):
    workspace = RemoteWorkspace("http://127.0.0.1:9")
    with workspace, pytest.raises(SettingsError) as told:
        workspace.execute_command(command)
    shown = "".join(traceback.format_exception(told.value))
    assert "execute_command() takes one text, which a shell reads, " in shown
    assert said in shown
    assert "shlex.join(words)" in shown
    assert shown.count("Traceback") == 1
