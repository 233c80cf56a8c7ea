"""Command-line agents on a real server: their output as it comes, and who follows it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from pytest_agent_sandbox.client import output_tail
from pytest_agent_sandbox.client.agent_runs import AgentRun
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import SandboxError, SettingsError


class Follower:
    def __init__(
        self,
        command: tuple[str, ...],
        variables: Mapping[str, str],
        reason: Exception | None = None,
    ) -> None:
        self.command = command
        self.variables = {"FROM": "the follower", "BOTH": "the follower", **variables}
        self.told: list[tuple[float, str]] = []
        self.run: AgentRun | None = None
        self._reason = reason

    def check(self) -> None:
        if self._reason is not None and self.told:
            raise self._reason

    def output(self, text: str) -> None:
        self.told.append((time.monotonic(), text))

    def ended(self, run: AgentRun) -> None:
        self.run = run

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.told)


def follow(workspace: RemoteWorkspace, reason: Exception | None = None) -> list[Follower]:
    followers: list[Follower] = []

    def begin(command: tuple[str, ...], variables: Mapping[str, str]) -> Follower:
        followers.append(Follower(command, variables, reason))
        return followers[-1]

    workspace.on_agent_run = begin
    return followers


def test_output_is_told_as_it_comes_in_whole_lines(workspace: RemoteWorkspace) -> None:
    followers = follow(workspace)
    script = "echo one; sleep 1; printf tw; sleep 1; echo o; sleep 1; printf 'end'"
    run = workspace.run_agent(["sh", "-c", script])
    (follower,) = followers
    assert follower.run is run
    assert follower.command == ("sh", "-c", script)
    assert [text for _, text in follower.told] == ["one\n", "two\n", "end"]
    times = [when for when, _ in follower.told]
    assert times[-1] - times[0] > 2
    assert run.output == follower.text == "one\ntwo\nend"


def test_characters_that_are_cut_arrive_whole(
    workspace: RemoteWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_tail, "_MOST", 7)
    monkeypatch.setattr(output_tail, "_INTERVAL", 0.0)
    followers = follow(workspace)
    # Each of them is three bytes.
    run = workspace.run_agent(["sh", "-c", "for i in 1 2 3 4 5 6; do echo €€€€; sleep 0.2; done"])
    assert run.output == "€€€€\n" * 6
    assert followers[0].text == run.output
    assert len(followers[0].told) > 1


def test_much_output(workspace: RemoteWorkspace) -> None:
    followers = follow(workspace)
    run = workspace.run_agent(["sh", "-c", "seq 400000; sleep 1; echo end"], timeout=60)
    assert followers[0].text == run.output
    assert run.output.endswith("400000\nend\n")


def test_a_long_line_is_not_waited_for(
    workspace: RemoteWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_tail, "_LONGEST_LINE", 100)
    followers = follow(workspace)
    run = workspace.run_agent(["sh", "-c", "printf '%0200d' 0; sleep 1.5; echo end"])
    assert [len(text) for _, text in followers[0].told] == [200, 4]
    assert run.output == "0" * 200 + "end\n"


def test_the_tests_own_variables_win(workspace: RemoteWorkspace) -> None:
    follow(workspace)
    run = workspace.run_agent(["sh", "-c", 'echo "$FROM, $BOTH"'], env={"BOTH": "the test"})
    assert run.output == "the follower, the test\n"


def test_who_follows_may_end_it(workspace: RemoteWorkspace) -> None:
    followers = follow(workspace, reason=KeyError("pointless"))
    began = time.monotonic()
    with pytest.raises(KeyError, match="pointless"):
        workspace.run_agent(["sh", "-c", "echo begun; exec sleep 71"])
    assert time.monotonic() - began < 10
    assert followers[0].run is None
    assert workspace.execute_command("pgrep -fx 'sleep 71'; true").stdout == ""


def test_nobody_needs_to_follow(workspace: RemoteWorkspace) -> None:
    run = workspace.run_agent(["sh", "-c", "pwd; exit 4"])
    assert run == AgentRun(("sh", "-c", "pwd; exit 4"), 4, f"{workspace.working_dir}\n")
    assert str(run).startswith("Agent sh -c 'pwd; exit 4' ended with exit code 4 after 0.")


@pytest.mark.parametrize(
    "given",
    [
        {"timeout": 0},
        {"cwd": "/no/such/folder"},
        {"command": ["sh", "-c", "x" * 200_000]},
        {"env": {"PATH": "/opt/mine", "KEY": "sk-verysecret-123456"}},
    ],
    ids=["no time", "no folder", "too long", "another PATH"],
)
def test_no_file_with_keys_is_left(workspace: RemoteWorkspace, given: dict[str, Any]) -> None:
    given = {"command": ["/bin/true"], "env": {"KEY": "sk-verysecret-123456"}, **given}
    command = given.pop("command")
    with suppress(ValueError, FileNotFoundError, SandboxError):
        workspace.run_agent(command, **given)
    assert workspace.execute_command("ls -d /tmp/command-*/env").stdout == ""


def test_values_arrive_as_they_are(workspace: RemoteWorkspace) -> None:
    value = "a 'b' \"c\" $d `e`\n\n  f\\"
    run = workspace.run_agent(
        ["python3", "-c", "import os; print(ascii(os.environ['X']))"], env={"X": value}
    )
    assert run.output == f"{value!a}\n"


@pytest.mark.parametrize("value", [1, None, "a\0b"])
def test_variables_are_text(workspace: RemoteWorkspace, value: Any) -> None:
    with pytest.raises(SettingsError, match=r"run_agent\(env=\{'N': …\}\) takes text"):
        workspace.run_agent(["true"], env={"N": value})


def test_what_is_told_of_its_time_is_the_caller_s(workspace: RemoteWorkspace) -> None:
    followers = follow(workspace)
    begin = workspace.on_agent_run
    assert begin is not None

    def slowly(command: tuple[str, ...], variables: Mapping[str, str]) -> Follower:
        time.sleep(0.4)  # such as a picture of its files takes, which is of the same time
        begin(command, variables)
        return followers[-1]

    workspace.on_agent_run = slowly
    run = workspace.run_agent(["sleep", "9"], timeout=1)
    assert run.timed_out
    assert 1 <= run.duration < 5
    assert str(run) == "Agent sleep 9 was ended by its timeout of 1 s."
    assert followers[0].run is run
    # The folder is made by a second command, in what is left.
    workspace.execute_command("rm -r $PWD", cwd=".")
    assert "its timeout of 1.5 s" in str(workspace.execute_command("sleep 9", timeout=1.5))
