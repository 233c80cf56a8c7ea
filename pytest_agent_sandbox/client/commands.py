"""Shell commands in the sandbox: their whole output, their exit code, their timeout.

The server's own command runner decodes output in 8 KiB pieces, which breaks characters that are
cut, waits for every background process that holds the output open, takes timeouts in whole seconds
and does not say that one struck. So a command is wrapped: its output goes to files, which are
printed as base64 once its shell has ended, and the timeout is kept here.
"""

from __future__ import annotations

import base64
import errno
import math
import shlex
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pytest_agent_sandbox.client import versions
from pytest_agent_sandbox.client.answers import a_number, an_id, an_object, as_text
from pytest_agent_sandbox.client.pages import items
from pytest_agent_sandbox.client.tailing import OutputTail
from pytest_agent_sandbox.client.transport import GUARD_INTERVAL, Guard, ServerConnection
from pytest_agent_sandbox.errors import CommandTimeout, SandboxError, ServerError

#: Bytes kept of each output stream. A command that writes more is ended: its output is on disk.
OUTPUT_LIMIT = 64 * 1024 * 1024
# Characters that both may take as the server has them, in base64, and some more.
_MOST_PRINTED = 4 * OUTPUT_LIMIT

#: Seconds past its timeout within which a command must have been ended and its output be here.
_STOP_GRACE = 15.0
#: Seconds of silence to bear of a server that is to start a command, or to tell of one. Both are
#: done in no time: one that is silent so long is stuck, or its machine is.
_START_TIMEOUT = 60.0
_POLL_TIMEOUT = 20.0

# A page holds up to this many outputs of up to 1 MiB: what is in memory at once.
_PAGE_SIZE = 10

_START_FAILED = "Error executing command:"

# Ends the printed output: what lacks it was cut off.
_END = " .\n"
_HTTP_NOT_FOUND = 404


@dataclass(frozen=True)
class CommandResult:
    """What a shell command left.

    Attributes:
        command: The command as it was given.
        exit_code: Its exit code; -1 when its timeout struck, 128 + n when signal n ended it.
        stdout: Its output; bytes that are not UTF-8 are replaced.
        stderr: Its error output, likewise.
        timed_out: True when it was ended because its timeout struck.
        truncated: True when it wrote more than 64 MiB and was ended for that; the rest is lost.
        duration: Seconds from the request to the result.
    """

    command: str
    exit_code: int
    stdout: str
    stderr: str
    timed_out: bool = False
    truncated: bool = False
    duration: float = field(default=0.0, compare=False)

    def __str__(self) -> str:
        if self.timed_out:
            how = f"was ended by its timeout after {self.duration:.1f} s"
        else:
            how = f"ended with exit code {self.exit_code}"
        if self.truncated:
            how += f"; its output was cut at {OUTPUT_LIMIT} bytes"
        streams = "".join(f"\n{text.rstrip()}" for text in (self.stdout, self.stderr) if text)
        return f"Command {self.command!r} {how}.{streams}"

    def check(self) -> CommandResult:
        """Return the result itself.

        Raises:
            AssertionError: The command failed; the message holds its output.
        """
        if self.exit_code != 0:
            raise AssertionError(str(self))
        return self


def run_command(
    connection: ServerConnection,
    command: str,
    *,
    cwd: str,
    timeout: float,
    on_output: Callable[[str], object] | None = None,
    guard: Guard | None = None,
) -> CommandResult:
    """Run `command` by the sandbox's `/bin/sh` and wait for its shell to end.

    Background processes (`server &`) are not waited for and go on running; what they print after
    the shell has ended is lost.

    Args:
        connection: The server.
        command: A shell command line; its standard input is empty.
        cwd: Absolute path of an existing folder in the sandbox.
        timeout: Seconds, fractions included. Then the command and its background processes get
            SIGTERM, and SIGKILL a second later. The output until then is kept.
        on_output: Called with whole lines of the output as they come.
        guard: Asked while waiting, in addition to the connection's.

    Raises:
        ValueError: The timeout is not positive.
        FileNotFoundError: `cwd` does not exist in the sandbox.
        CommandTimeout: The command's end was not reported well past its timeout.
        ServerError: The server refused or could not start the command.
        BaseException: What `guard` or `on_output` raised; the command was ended.
    """
    if not timeout > 0:
        raise ValueError(f"timeout must be more than 0 seconds, not {timeout!r}")
    folder = f"/tmp/command-{uuid.uuid4().hex}"  # noqa: S108  (in the sandbox; made with mode 700)
    started = time.monotonic()
    # By its group, a command is ended on a server that cannot do that.
    can_stop = versions.has(connection.version, versions.STOP_COMMAND)
    wrapped = _wrapped(command, folder, notes_group=not can_stop)
    if not versions.has(connection.version, versions.COMMAND_GROUP):
        wrapped = f"exec setsid sh -c {shlex.quote(wrapped)}"
    command_id = _start(connection, wrapped, cwd, timeout)
    tail = None if on_output is None else OutputTail(connection, f"{folder}/out", on_output)

    def watch() -> None:
        if guard is not None:
            guard()
        if tail is not None:
            tail.poll()

    try:
        output = _output(connection, command_id, deadline=started + timeout, watch=watch)
    except BaseException:
        with suppress(SandboxError):  # nobody waits for it any more, as far as it is still there
            _stop(connection, command_id, folder)
        raise
    timed_out = output is None
    if output is None:
        _stop(connection, command_id, folder)
        output = _output(connection, command_id, deadline=time.monotonic() + _STOP_GRACE)
        if output is None:
            raise CommandTimeout(
                f"The end of command {command!r} was not reported within {_STOP_GRACE:g} s after "
                f"its timeout of {timeout:g} s."
            )
    text, status = output
    if not text.endswith(_END):
        # The wrapper was killed together with the command, which leaves the files.
        text = _recovered(connection, folder, exit_code=128 - status)  # signal n came as -n
        if not text.endswith(_END):
            raise ServerError(f"The output of command {command!r} is lost: {text.strip()}")
    try:
        stdout, stderr, code = text.removesuffix(_END).split("-", 2)
        out, err, exit_code = base64.b64decode(stdout), base64.b64decode(stderr), int(code)
    except ValueError as error:
        raise ServerError(f"The output of command {command!r} is not one: {error}") from error
    if tail is not None:
        tail.end(out)
    return CommandResult(
        command=command,
        exit_code=-1 if timed_out else exit_code,
        stdout=out.decode(errors="replace"),
        stderr=err.decode(errors="replace"),
        timed_out=timed_out,
        truncated=max(len(out), len(err)) >= OUTPUT_LIMIT,
        duration=time.monotonic() - started,
    )


def _wrapped(command: str, folder: str, *, notes_group: bool) -> str:
    # The trap lets this shell outlive a SIGTERM to its process group, to print what there is. The
    # loop in the background keeps a command that prints without end from filling the disk.
    return f"""
stopped=; trap stopped=1 TERM
mkdir -m 700 {folder}{f" && echo $$ >{folder}/group" if notes_group else ""} || exit
(trap - TERM; while sleep 1; do
    [ -z "$(find {folder} -size +{OUTPUT_LIMIT // 1024}k)" ] || kill 0
done) >/dev/null 2>&1 &
sh -c {shlex.quote(command)} </dev/null >{folder}/out 2>{folder}/err
code=$?
kill $! 2>/dev/null
{_printed(folder, exit_code="$code")}
[ -z "$stopped" ] || kill -KILL 0
"""


def _printed(folder: str, *, exit_code: str) -> str:
    """Return the shell lines that print and remove what a command left in `folder`."""
    out, err = (
        f"if [ -s {folder}/{name} ]; then head -c {OUTPUT_LIMIT} {folder}/{name} | base64; fi"
        for name in ("out", "err")
    )
    return f"""
{out} && echo - && {err} && echo "- {exit_code} ."
rm -rf {folder}"""


def _recovered(connection: ServerConnection, folder: str, *, exit_code: int) -> str:
    command = _printed(folder, exit_code=str(exit_code))
    command_id = _start(connection, command, "/", _STOP_GRACE)
    output = _output(connection, command_id, deadline=time.monotonic() + _STOP_GRACE)
    return output[0] if output else ""


def _start(connection: ServerConnection, command: str, cwd: str, timeout: float) -> str:
    # The server's timeout is only there for when this process is gone; it takes whole seconds.
    body = {"command": command, "cwd": cwd, "timeout": math.ceil(timeout) + 1}
    answer = connection.request(
        "POST", "/api/bash/start_bash_command", json=body, timeout=_START_TIMEOUT
    )
    return an_id(connection.decoded(answer), "The start of a command")


def _stop(connection: ServerConnection, command_id: str, folder: str) -> None:
    if versions.has(connection.version, versions.STOP_COMMAND):
        try:
            path = f"/api/bash/bash_commands/{command_id}/stop"
            connection.request("POST", path, timeout=_STOP_GRACE)
        except ServerError as error:
            if error.status != _HTTP_NOT_FOUND:  # it has just ended
                raise
        return
    # As newer servers do it: SIGTERM, and SIGKILL a second later.
    kill = "kill -s {} -- -$group 2>/dev/null || exit 0"
    script = f"read group <{folder}/group; {kill.format('TERM')}; sleep 1; {kill.format('KILL')}"
    _start(connection, script, "/", _STOP_GRACE)


def _output(
    connection: ServerConnection,
    command_id: str,
    *,
    deadline: float,
    watch: Callable[[], None] | None = None,
) -> tuple[str, int] | None:
    """Return all output of a command, and its exit code; None if it has not ended by then."""
    pause = 0.004
    while True:
        outputs = _outputs(connection, command_id)
        codes = [output["exit_code"] for output in outputs if output.get("exit_code") is not None]
        if codes:
            break
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        time.sleep(min(pause, left))
        pause = min(pause * 1.2, GUARD_INTERVAL)
        connection.check()
        if watch is not None:
            watch()
    stderr = "".join(output["stderr"] for output in outputs)
    if stderr.startswith(_START_FAILED):
        raise _start_error(stderr.removeprefix(_START_FAILED).strip())
    text = "".join(output["stdout"] for output in outputs)
    code = a_number(codes[-1], f"Command {command_id}'s exit code")
    return (text if text.endswith(_END) else text + stderr), code


def _outputs(connection: ServerConnection, command_id: str) -> list[dict[str, Any]]:
    path = "/api/bash/bash_events/search"
    which = {"command_id__eq": command_id, "kind__eq": "BashOutput", "limit": _PAGE_SIZE}
    outputs = []
    size = 0
    for item in items(connection, path, which, timeout=_POLL_TIMEOUT):
        found = an_object(item, path)
        output: dict[str, Any] = {name: found.get(name) for name in ("exit_code", "order")}
        for stream in ("stdout", "stderr"):
            output[stream] = as_text(found.get(stream) or "")
            size += len(output[stream])
        if size > _MOST_PRINTED:
            raise ServerError(f"{path} was answered with over {_MOST_PRINTED:,} characters.")
        outputs.append(output)
    return sorted(outputs, key=lambda output: a_number(output.get("order"), path))


def _start_error(reason: str) -> Exception:
    """Return the error for a command that the server could not start, such as `[Errno 2] …`."""
    if reason.startswith((f"[Errno {errno.ENOENT}]", f"[Errno {errno.ENOTDIR}]")):
        path = reason.rpartition(": ")[2].strip("'\"")
        return FileNotFoundError(errno.ENOENT, "No such working directory in the sandbox", path)
    return ServerError(f"The server could not start the command: {reason}")
