"""Commands in a real sandbox: output, exit codes, timeouts, background processes."""

from __future__ import annotations

import errno
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_agent_sandbox.client import commands
from pytest_agent_sandbox.client.workspace import RemoteWorkspace
from pytest_agent_sandbox.errors import ServerError

from .server import Server


def leftovers(workspace: RemoteWorkspace) -> str:
    """Folders of finished commands, other than that of the listing itself, and what is in them."""
    return workspace.execute_command(
        "for d in /tmp/command-*; do [ -p $d/1 ] || ls -l $d; done", cwd="/"
    ).stdout


def test_output_error_output_and_exit_code_are_kept_apart(workspace: RemoteWorkspace) -> None:
    result = workspace.execute_command("echo out; echo err >&2; exit 3")
    assert (result.stdout, result.stderr, result.exit_code) == ("out\n", "err\n", 3)
    assert not result.timed_out
    assert not leftovers(workspace)


@pytest.mark.parametrize(
    ("command", "stdout"),
    [
        ("", ""),
        ("""echo 'it'"'"'s' "$((1 + 1))" `echo back` \\$HOME""", "it's 2 back $HOME\n"),
        ("cat <<'X'\na  b\nX\n", "a  b\n"),
        ("echo one\necho two # comment", "one\ntwo\n"),
        ("printf 'no newline'", "no newline"),
        ("printf 'a\\r\\nb\\0c'", "a\r\nb\0c"),
        ("printf -- '- 0 .\\n-'", "- 0 .\n-"),
        ("cat; echo end of input", "end of input\n"),
        ("printf '\\377'", "\ufffd"),
    ],
)
def test_a_command_arrives_as_it_was_written(
    workspace: RemoteWorkspace, command: str, stdout: str
) -> None:
    assert workspace.execute_command(command).check().stdout == stdout


def test_a_syntax_error_is_the_shell_s(workspace: RemoteWorkspace) -> None:
    result = workspace.execute_command("echo 'open")
    assert result.exit_code == 2
    assert "Unterminated" in result.stderr


@pytest.mark.parametrize(("signal", "exit_code"), [("KILL", 137), ("TERM", 143)])
def test_a_signal_is_128_and_its_number(
    workspace: RemoteWorkspace, signal: str, exit_code: int
) -> None:
    assert workspace.execute_command(f"kill -{signal} $$").exit_code == exit_code
    # The same for the whole process group, the wrapper included.
    result = workspace.execute_command(f"echo before; kill -{signal} 0; sleep 9")
    assert (result.stdout, result.exit_code) == ("before\n", exit_code)
    assert not result.timed_out
    assert not leftovers(workspace)


def test_five_megabytes_of_multi_byte_text_arrive_whole(workspace: RemoteWorkspace) -> None:
    piece = "héllo wörld ☃😀"
    code = f"print({piece!r} * 240_000)"
    workspace.write_text("print.py", code)
    started = time.monotonic()
    result = workspace.execute_command("PYTHONIOENCODING=utf-8 python3 print.py").check()
    took = time.monotonic() - started
    assert result.stdout == piece * 240_000 + "\n"
    size = len(result.stdout.encode())
    assert size > 5_000_000
    print(f"{size / 1e6:.1f} MB in {took:.2f} s, {size / 1e6 / took:.0f} MB/s")


def test_both_streams_may_be_large_at_once(workspace: RemoteWorkspace) -> None:
    code = "import sys\nfor n in range(300_000): print(n); print(-n, file=sys.stderr)\n"
    workspace.write_text("print.py", code)
    result = workspace.execute_command("python3 print.py")
    assert result.stdout.splitlines() == [str(n) for n in range(300_000)]
    assert result.stderr.splitlines() == [str(-n) for n in range(300_000)]


def test_a_timeout_of_half_a_second_strikes_after_half_a_second(
    workspace: RemoteWorkspace,
) -> None:
    result = workspace.execute_command("echo first; sleep 30; echo second", timeout=0.5)
    assert result.timed_out
    assert result.exit_code == -1
    assert result.stdout == "first\n"
    assert 0.5 <= result.duration < 2.0
    assert "was ended by its timeout of 0.5 s" in str(result)
    with pytest.raises(AssertionError, match="timeout"):
        result.check()
    assert not leftovers(workspace)


def test_a_timeout_lets_the_command_clean_up(workspace: RemoteWorkspace) -> None:
    result = workspace.execute_command("trap 'echo bye; exit 4' TERM; sleep 30", timeout=0.5)
    assert result.timed_out
    assert result.stdout == "bye\n"


def test_a_timeout_ends_what_ignores_it_and_keeps_the_output(workspace: RemoteWorkspace) -> None:
    result = workspace.execute_command(
        "trap '' TERM; echo stubborn; sleep 31; sleep 31", timeout=0.5
    )
    assert result.timed_out
    assert result.stdout == "stubborn\n"
    assert result.duration < 5.0
    assert workspace.execute_command("pgrep -f '^sleep 31$'").stdout == ""
    assert not leftovers(workspace)


def test_a_timeout_ends_background_processes_too(workspace: RemoteWorkspace) -> None:
    assert workspace.execute_command("sleep 32 & wait", timeout=0.5).timed_out
    assert workspace.execute_command("pgrep -f '^sleep 32$'").stdout == ""


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_a_timeout_must_be_positive(workspace: RemoteWorkspace, timeout: float) -> None:
    with pytest.raises(ValueError, match="more than 0 seconds"):
        workspace.execute_command("true", timeout=timeout)


def test_a_background_process_is_not_waited_for_and_lives_on(workspace: RemoteWorkspace) -> None:
    result = workspace.execute_command("sleep 33 & echo started").check()
    assert result.stdout == "started\n"
    assert result.duration < 5.0
    assert workspace.execute_command("pkill -f '^sleep 33$'").exit_code == 0


def test_a_command_that_prints_without_end_is_ended(
    workspace: RemoteWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "OUTPUT_LIMIT", 1024 * 1024)
    result = workspace.execute_command("yes", timeout=60)
    assert result.truncated
    assert len(result.stdout) == 1024 * 1024
    assert result.exit_code == 143
    assert result.duration < 30
    assert "cut at 1048576 bytes" in str(result)


def test_commands_run_in_the_working_dir_which_is_made(workspace: RemoteWorkspace) -> None:
    assert workspace.execute_command("pwd").stdout == f"{workspace.working_dir}\n"


def test_cwd_is_relative_to_the_working_dir_and_must_exist(workspace: RemoteWorkspace) -> None:
    workspace.write_text("a b/file", "")
    assert workspace.execute_command("ls", cwd="a b").stdout == "file\n"
    assert workspace.execute_command("pwd", cwd="/usr").stdout == "/usr\n"
    with pytest.raises(FileNotFoundError, match=r"working directory .*nope"):
        workspace.execute_command("ls", cwd="nope")
    with pytest.raises(NotADirectoryError, match="a b/file"):
        workspace.execute_command("ls", cwd="a b/file")
    with pytest.raises(PermissionError, match="/root"):
        workspace.execute_command("ls", cwd="/root")
    workspace.execute_command("ln -s ring ring").check()
    with pytest.raises(OSError, match="/ring") as found:
        workspace.execute_command("ls", cwd="ring")
    assert found.value.errno == errno.ELOOP


def test_a_working_dir_that_cannot_be_made_is_an_error_of_its_path(server: Server) -> None:
    with (
        RemoteWorkspace(server.host, server.api_key, "/proc/nowhere") as workspace,
        pytest.raises(FileNotFoundError, match="/proc/nowhere"),
    ):
        workspace.execute_command("ls")


@pytest.mark.parametrize(
    "command",
    [
        "cat <<'EOF' | wc -c\n" + "'" * 999_999 + "\nEOF\n",
        "cat <<'EOF' | wc -c\n" + "x" * 999_999 + "\nEOF\n",
    ],
    ids=["quotes", "letters"],
)
def test_a_command_may_be_of_any_length(workspace: RemoteWorkspace, command: str) -> None:
    assert workspace.execute_command(command).check().stdout == "1000000\n"
    result = workspace.execute_command(f"{command}exit 3 # {'x' * 200_000}\n'")
    assert result.exit_code in (2, 3)
    assert not leftovers(workspace)


def test_a_nul_is_refused(workspace: RemoteWorkspace) -> None:
    with pytest.raises(ValueError, match="NUL"):
        workspace.execute_command("echo a\0b")


@pytest.mark.parametrize(
    ("command", "stdout", "stderr"),
    [
        ("echo kept; rm -rf /tmp/*; echo done", "kept\ndone\n", ""),
        ("rm -rf /tmp/*; echo done; exit 0", "done\n", ""),
        ("echo a; echo b >/dev/stdout; echo c", "a\nb\nc\n", ""),
        ("echo a >&2; echo b >/dev/stderr; echo c >&2", "", "a\nb\nc\n"),
        ("echo a; exec >/dev/null; echo b", "a\n", ""),
        ("echo a; exec >&-; exec 2>&-; echo b", "a\n", ""),
        ("echo a; kill -9 $PPID; sleep 0.1; echo b", "a\n", ""),
        ("echo a; exec cat /dev/null", "a\n", ""),
        ("cat <<EOF\nno end", "no end", ""),
        ("cat <&3; cat <&5; ls /proc/self/fd | wc -l", "4\n", None),  # nothing else is open in it
    ],
)
def test_what_a_command_does_to_its_own_output(
    workspace: RemoteWorkspace, command: str, stdout: str, stderr: str | None
) -> None:
    result = workspace.execute_command(command)
    assert result.stdout.startswith(stdout) if "PPID" in command else result.stdout == stdout
    assert stderr is None or "PPID" in command or result.stderr == stderr
    assert not leftovers(workspace)


def test_output_that_is_lost_is_said_to_be(workspace: RemoteWorkspace) -> None:
    """Also the same of a disk that is full, which a test of the container's limits looks at."""
    with pytest.raises(ServerError, match=r"'echo a; sleep .*is lost"):
        workspace.execute_command(
            "echo a; sleep 0.3; for f in /tmp/command-*/out; do : >$f; done; echo b"
        )
    with pytest.raises(ServerError, match="is lost"):
        workspace.execute_command("echo a; sleep 0.3; pkill -9 -x cat; sleep 0.1; echo b")


def test_output_of_a_background_process_does_not_end_it(workspace: RemoteWorkspace) -> None:
    result = workspace.execute_command(
        "(sleep 0.3; echo late; echo $? >$HOME/code; sleep 34) & echo started"
    )
    assert result.stdout == "started\n"
    workspace.execute_command("until [ -s $HOME/code ]; do sleep 0.05; done", timeout=10)
    assert workspace.execute_command("cat $HOME/code; rm $HOME/code").stdout == "0\n"
    assert workspace.execute_command("pkill -f '^sleep 34$'").exit_code == 0


def test_commands_run_side_by_side(workspace: RemoteWorkspace) -> None:
    workspace.execute_command("true")
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: workspace.execute_command(f"echo {n}").stdout, range(24)))
    assert results == [f"{n}\n" for n in range(24)]
