"""Shell commands as the server runs them: a start, polls for the output, a stop.

What is run here is the client's own: `commands` wraps those of others.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from typing import IO, Any

from pytest_agent_sandbox.client import versions
from pytest_agent_sandbox.client.answers import a_number, an_id, an_object, as_text
from pytest_agent_sandbox.client.command_wrapper import END
from pytest_agent_sandbox.client.pages import items
from pytest_agent_sandbox.client.remote_paths import is_utf8, path_error, quoted, told_error
from pytest_agent_sandbox.client.transport import GUARD_INTERVAL, ServerConnection
from pytest_agent_sandbox.errors import ServerError

# Characters of one command's output in base64, and a few to spare.
_MOST_PRINTED = 256 * 1024 * 1024

#: Seconds past a command's timeout for its end, and for its output to arrive.
STOP_GRACE = 15.0
#: Seconds past a command's timeout for an answer that is on its way then: of its start, of a poll.
ANSWER_GRACE = 0.5
#: Seconds past that for its end, where the server says nothing.
SILENT_GRACE = 0.2
#: Seconds that a server may take to start a command, or to tell of one, where the command has more
#: time. Both are quick: a server that takes longer is stuck, or its machine is.
START_TIMEOUT = 60.0
_POLL_TIMEOUT = 20.0

# Outputs in one page, of up to 1 MiB each: they are in memory at once.
_PAGE_SIZE = 10

_START_FAILED = "Error executing command:"
_START_ERROR = re.compile(r"""\[Errno (\d+)\] [^:]*: ['"](.*)['"]""", re.DOTALL)

_HTTP_NOT_FOUND = 404


def put(connection: ServerConnection, path: str, content: bytes | IO[bytes]) -> None:
    """Write a file of which only the sandbox's side may be at fault. Raises `ServerError`."""
    address, params = versions.file_request(connection.version, "upload", path)
    connection.request("POST", address, params=params, files={"file": content})


def start_folder(connection: ServerConnection, cwd: str) -> str:
    """Return the folder to start in, for a command that goes to `cwd` itself where it is another.

    Raises:
        OSError: It may not be entered, or is none.
    """
    if is_utf8(cwd):  # the server finds out
        return cwd
    error = told_error(run_plain(connection, f"LC_ALL=C ls -d -- {quoted(cwd)}/. 2>&1"), cwd)
    if error is not None:
        raise error
    return "/"


def run_plain(connection: ServerConnection, script: str) -> str:
    """Run a script of ours that prints little, and return that."""
    command_id = start(connection, script, "/", STOP_GRACE)
    output = output_of(connection, command_id, deadline=time.monotonic() + STOP_GRACE)
    return output[0] if output else ""


def start(connection: ServerConnection, command: str, cwd: str, timeout: float) -> str:
    """Start a command and return its id. Raises `ServerError`."""
    # The server's timeout is only there for when this process is gone; it takes whole seconds.
    body = {"command": command, "cwd": cwd, "timeout": math.ceil(timeout) + 1}
    answer = connection.request(
        "POST", "/api/bash/start_bash_command", json=body, timeout=START_TIMEOUT
    )
    return an_id(connection.decoded(answer), "The start of a command")


def stop(connection: ServerConnection, command_id: str, folder: str) -> None:
    """End a command, of which older servers need to be told the group: it is in its folder."""
    if versions.has(connection.version, versions.STOP_COMMAND):
        try:
            path = f"/api/bash/bash_commands/{command_id}/stop"
            connection.request("POST", path, timeout=STOP_GRACE)
        except ServerError as error:
            if error.status != _HTTP_NOT_FOUND:  # it has just ended
                raise
        return
    # As newer servers do it: SIGTERM, and SIGKILL a second later.
    kill = "kill -s {} -- -$group 2>/dev/null || exit 0"
    script = f"read group <{folder}/group; {kill.format('TERM')}; sleep 1; {kill.format('KILL')}"
    start(connection, script, "/", STOP_GRACE)


def output_of(
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
    return (text if text.endswith(END) else text + stderr), code


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
    told = _START_ERROR.fullmatch(reason)
    if told and told[2] != "/bin/sh":
        return path_error(int(told[1]), told[2], of="as working directory in the sandbox")
    return ServerError(f"The server could not start the command: {reason}")
