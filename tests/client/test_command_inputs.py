"""Variables, standard input and another user for a command."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.engines.docker.workspace import DockerWorkspace
from pytest_agent_sandbox.errors import SettingsError

VALUE = "a 'b' \"c\" $d `e`\n\n  f\\"
LONG = "x" * 200_000


def test_variables_and_input_arrive_and_show_nowhere(workspace: RemoteWorkspace) -> None:
    secrets: list[str] = []
    workspace.on_secret = secrets.append
    show = "python3 -c 'import os; print(ascii(os.environ[\"X\"]))'; cat"
    for command in (show, f": {LONG}; {show}"):
        result = workspace.execute_command(command, env={"X": VALUE}, stdin="in\n☃")
        assert result.check().stdout == f"{VALUE!a}\nin\n☃"
        assert VALUE not in str(result) + repr(result)
    assert secrets == [VALUE] * 2
    binary = workspace.execute_command("wc -c", stdin=bytes(range(256)) * 4000)
    assert binary.stdout == "1024000\n"
    assert workspace.execute_command("cat", stdin="").stdout == ""
    assert workspace.execute_command("exit 3 # never reads it", stdin=LONG).exit_code == 3
    shown = workspace.execute_command(
        "tr '\\0' ' ' </proc/$PPID/cmdline; ps -ef; ls /tmp/command-*",
        env={"KEY": "sk-verysecret-123456"},
    )
    assert "sk-verysecret" not in shown.check().stdout
    assert "env" not in shown.stdout.split()
    assert workspace.execute_command("echo ${KEY-unset}").stdout == "unset\n"


def test_what_was_given_is_removed_whatever_happens(workspace: RemoteWorkspace) -> None:
    given: dict[str, Any] = {"env": {"KEY": "sk-verysecret-123456"}, "stdin": "x"}
    with pytest.raises(FileNotFoundError):
        workspace.execute_command("true", cwd="/no/such/folder", **given)
    assert workspace.execute_command("kill -9 0", **given).exit_code == 137
    assert workspace.execute_command("sleep 30", timeout=0.5, **given).timed_out
    assert workspace.execute_command("ls /tmp/command-* | grep -x -e env -e in").stdout == ""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"env": {"A-B": "x"}}, r"execute_command\(env=…\): 'A-B' is no name"),
        ({"env": {"N": 1}}, r"execute_command\(env=\{'N': …\}\) takes text, not int"),
        ({"user": "a b; id"}, r"execute_command\(user=…\): 'a b; id' is no name"),
        ({"user": "root", "stdin": "x", "command": LONG}, "write it to a file"),
    ],
)
def test_what_cannot_be_given_is_said(
    workspace: RemoteWorkspace, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        workspace.execute_command(**{"command": "true", **given})


def test_another_user(workspace: RemoteWorkspace) -> None:
    """The suite's shared sandbox has `security="sudo"`."""
    who = "id -un; pwd; cat"
    for user, name in (("root", "root"), (0, "root"), ("nobody", "nobody")):
        result = workspace.execute_command(who, user=user, stdin="in", cwd="/usr")
        assert result.check().stdout == f"{name}\n/usr\nin"
    own = workspace.execute_command("id -un").stdout.strip()
    assert workspace.execute_command("id -un", user=own).stdout == f"{own}\n"
    result = workspace.execute_command("echo $X; exit 3", user="root", env={"X": VALUE})
    assert result.exit_code == 3
    assert workspace.execute_command('echo "$X"', user="root", env={"X": VALUE}).stdout == (
        f"{VALUE}\n"
    )
    result = workspace.execute_command(f": {LONG}; id -un; cat", user="nobody")
    assert result.check().stdout == "nobody\n"
    result = workspace.execute_command("echo begun; sleep 35", user="root", timeout=0.7)
    assert result.timed_out
    assert result.stdout == "begun\n"
    assert workspace.execute_command("pgrep -fx 'sleep 35'; true").stdout == ""


def test_no_other_user_where_that_cannot_be(
    engine: ContainerEngine, agent_server_image: str
) -> None:
    with DockerWorkspace(server_image=agent_server_image, engine=engine) as workspace:
        with pytest.raises(SettingsError, match=r"cannot become 'root'.*security = sudo"):
            workspace.execute_command("id", user="root")
        with pytest.raises(SettingsError, match="cannot become 'nosuchuser'"):
            workspace.execute_command("id", user="nosuchuser")
