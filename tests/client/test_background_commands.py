"""Commands that are started and not waited for, on a real server."""

from __future__ import annotations

import time

import pytest

from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import CommandTimeout
from tests.support.timing import eventually


def test_its_output_comes_as_it_is_printed(workspace: RemoteWorkspace) -> None:
    command = workspace.start_command("echo ö; while [ ! -e go ]; do sleep 0.1; done; echo two")
    assert command.result is None
    eventually(lambda: command.printed().stdout == "ö\n")
    workspace.write_text("go", "")
    result = command.wait(timeout=10)
    assert (result.stdout, result.exit_code) == ("ö\ntwo\n", 0)
    assert command.result == result


@pytest.mark.parametrize(("text", "code"), [("exit 3", 3), ("echo x >&2; false", 1)])
def test_a_failure_is_a_result(workspace: RemoteWorkspace, text: str, code: int) -> None:
    assert workspace.start_command(text).wait(timeout=10).exit_code == code


def test_it_goes_on_after_a_wait_and_ends_when_it_is_stopped(workspace: RemoteWorkspace) -> None:
    command = workspace.start_command("echo $$ >pid; sleep 600")
    began = time.monotonic()
    with pytest.raises(CommandTimeout, match=r"has not ended within 0\.5 s"):
        command.wait(timeout=0.5)
    assert time.monotonic() - began < 5
    pid = workspace.read_text("pid").strip()
    assert workspace.execute_command(f"kill -0 {pid}").exit_code == 0
    command.stop()
    assert command.wait(timeout=10).exit_code != 0
    assert workspace.execute_command(f"kill -0 {pid}").exit_code != 0


def test_the_server_ends_it_at_its_timeout(workspace: RemoteWorkspace) -> None:
    assert workspace.start_command("sleep 600", lifetime=1).wait(timeout=15).exit_code != 0


def test_a_folder_that_is_not_there(workspace: RemoteWorkspace) -> None:
    with pytest.raises(FileNotFoundError):
        workspace.start_command("true", cwd="no/such/folder").wait(timeout=10)
