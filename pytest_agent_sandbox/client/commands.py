"""Shell commands in the sandbox: their whole output, their exit code, their timeout.

The server's own command runner decodes output in 8 KiB pieces, which breaks characters that are
cut, waits for every background process that holds the output open, takes timeouts in whole seconds
and does not say that one struck. So a command is wrapped (see `wrapper`), and the timeout is kept
here.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from pytest_agent_sandbox.client import versions
from pytest_agent_sandbox.client.command_inputs import (
    CANNOT_BECOME,
    NO_OTHER_USER,
    CommandInputs,
)
from pytest_agent_sandbox.client.command_wrapper import END, NOT_RUN, Wrapper
from pytest_agent_sandbox.client.output_tail import OutputTail
from pytest_agent_sandbox.client.remote_paths import is_utf8, quoted
from pytest_agent_sandbox.client.server_commands import (
    ANSWER_GRACE,
    SILENT_GRACE,
    STOP_GRACE,
    output_of,
    put,
    run_plain,
    start,
    start_folder,
    stop,
)
from pytest_agent_sandbox.client.transport import Guard, ServerConnection, is_silence
from pytest_agent_sandbox.errors import CommandTimeout, SandboxError, ServerError, SettingsError

#: Bytes kept of each output stream. A command that writes more is ended: its output is on disk.
OUTPUT_LIMIT = 64 * 1024 * 1024
# Characters of a command that an error shows.
_SHOWN = 1000


@dataclass(frozen=True)
class CommandResult:
    """The result of a shell command.

    Attributes:
        command: The command as it was given.
        exit_code: Its exit code; -1 when its timeout struck, 128 + n when signal n ended it.
        stdout: Its output; bytes that are not UTF-8 are replaced.
        stderr: Its error output, likewise.
        timed_out: True when it was ended because its timeout struck.
        truncated: True when it wrote more than 64 MiB and was ended for that; the rest is lost.
        duration: Seconds from the request to the result.
        timeout: Seconds that it had; 0 for a command that goes on in the background.
    """

    command: str
    exit_code: int
    stdout: str
    stderr: str
    timed_out: bool = False
    truncated: bool = False
    duration: float = field(default=0.0, compare=False)
    timeout: float = field(default=0.0, compare=False, repr=False)

    def __str__(self) -> str:
        if self.timed_out:
            how = f"was ended by its timeout of {self.timeout:g} s"
        else:
            how = f"ended with exit code {self.exit_code}"
        if self.truncated:
            how += f"; its output was cut at {OUTPUT_LIMIT} bytes"
        streams = "".join(f"\n{text.rstrip()}" for text in (self.stdout, self.stderr) if text)
        return f"Command {self.command!r} {how}.{streams}"

    @property
    def timeout_occurred(self) -> bool:
        """Upstream's name of `timed_out`."""
        return self.timed_out

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
    inputs: CommandInputs | None = None,
    on_output: Callable[[str], object] | None = None,
    guard: Guard | None = None,
) -> CommandResult:
    """Run `command` by the sandbox's `/bin/sh` and wait for its shell to end.

    Background processes (`server &`) are not waited for and go on running; what they print after
    the shell has ended is lost.

    Args:
        connection: The server.
        command: A shell command line, of any length.
        cwd: Absolute path of an existing folder in the sandbox.
        timeout: Seconds, fractions included, of those that the caller has. Then the command and its
            background processes get SIGTERM, and SIGKILL a second later. The output until then is
            kept.
        inputs: What else it is given: by default nothing, its standard input is empty.
        on_output: Called with whole lines of the output as they come.
        guard: Asked while waiting, in addition to the connection's.

    Raises:
        SettingsError: The sandbox's user cannot become the one to run as.
        ValueError: The timeout is not positive, or the command holds a NUL.
        OSError: `cwd` does not exist in the sandbox, is no folder, or may not be entered.
        CommandTimeout: The server did not tell of the command any more when its timeout struck, or
            not of its end within 15 s after it was to be ended.
        SandboxPaused: The sandbox is paused, and the time is over.
        ServerError: The server refused or could not start the command, did not answer to that in
            the time, or the output is lost.
        BaseException: What `guard` or `on_output` raised; the command was ended.
    """
    if not timeout > 0:
        raise ValueError(f"timeout must be more than 0 seconds, not {timeout!r}")
    if "\0" in command:
        raise ValueError("command: it holds a NUL, which no shell can take")
    wanted, timeout = timeout, connection.time.left(timeout)
    started = time.monotonic()
    with connection.time.due(started + timeout):
        inputs = inputs or CommandInputs()
        running = _Running(connection, command, inputs, timeout)
        text, timed_out = running.run(cwd, on_output, guard)
        out, err, exit_code = running.parsed(text)
        if exit_code == CANNOT_BECOME and err.startswith(NO_OTHER_USER.encode()):
            raise SettingsError(
                f"user: the sandbox's user cannot become {inputs.user!r}: start the sandbox with "
                "security = sudo (--sandbox-security=sudo), or with that user (--sandbox-user)"
            )
    if running.tail is not None:
        running.tail.end(out)
    return CommandResult(
        command=command,
        exit_code=-1 if timed_out else exit_code,
        stdout=out.decode(errors="replace"),
        stderr=err.decode(errors="replace"),
        timed_out=timed_out,
        truncated=max(len(out), len(err)) >= OUTPUT_LIMIT,
        duration=time.monotonic() - started,
        timeout=wanted,
    )


def left_until(end: float) -> float:
    """Return the seconds until an end; a moment where it is over, for a command to find that out.

    Args:
        end: By the monotonic clock.
    """
    return max(0.001, end - time.monotonic())


class _Running:
    """A command on its way."""

    def __init__(
        self, connection: ServerConnection, command: str, inputs: CommandInputs, timeout: float
    ) -> None:
        self.tail: OutputTail | None = None
        self._has_files = False
        self._connection = connection
        self._command = command
        self._inputs = inputs
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._id = ""
        self._wrapper = Wrapper(OUTPUT_LIMIT)

    def run(
        self, cwd: str, on_output: Callable[[str], object] | None, guard: Guard | None
    ) -> tuple[str, bool]:
        """Return what the wrapper has printed, and whether the timeout struck."""
        if on_output is not None:
            marks = {"first": self._wrapper.first, "last": self._wrapper.last}
            self.tail = OutputTail(self._connection, self._wrapper.output, on_output, **marks)

        def watch() -> None:
            if guard is not None:
                guard()
            if self.tail is not None:
                self.tail.poll()

        # All that it takes, down to the sockets, has the command's own time.
        end = self._deadline + ANSWER_GRACE
        with self._connection.time.due(self._deadline, end=end, anew=True):
            output = self._output(cwd, watch)
            if output is not None:
                return self._completed(*output), False
        end = time.monotonic() + STOP_GRACE
        with self._connection.time.due(self._deadline, end=end, anew=True):
            return self._completed(*self._ended(end)), True

    def _output(self, cwd: str, watch: Callable[[], None]) -> tuple[str, int] | None:
        """Return what the command has printed, and how it ended; None where its timeout struck."""
        connection = self._connection
        try:
            line = self._prepared(cwd)
            folder = start_folder(connection, cwd)
            self._id = start(connection, line, folder, self._timeout)
            return output_of(connection, self._id, deadline=self._deadline, watch=watch)
        except BaseException as error:
            self._clean_up()
            if self._id and isinstance(error, ServerError) and self._is_over and is_silence(error):
                raise CommandTimeout(
                    f"The server did not tell of command {self._shown} any more when its timeout "
                    f"of {self._timeout:g} s struck: {error}"
                ) from error
            raise

    def _clean_up(self) -> None:
        """End what may not have begun, and what nobody waits for."""
        grace = SILENT_GRACE if self._is_over else STOP_GRACE
        with (
            suppress(SandboxError),
            # Not within the command's own time: it may be over.
            self._connection.time.to_clean_up(grace),
        ):
            if self._id:
                stop(self._connection, self._id, self._wrapper.folder)
            if self._has_files:  # if it did not begin, it has not removed them
                run_plain(self._connection, f"rm -rf {self._wrapper.folder}")

    def _ended(self, end: float) -> tuple[str, int]:
        """End the command, whose timeout has struck, and return what `_output` does."""
        stop(self._connection, self._id, self._wrapper.folder)
        output = output_of(self._connection, self._id, deadline=end)
        if output is None:
            raise CommandTimeout(
                f"The end of command {self._shown} was not reported within {STOP_GRACE:g} s "
                f"after its timeout of {self._timeout:g} s."
            )
        return output

    @property
    def _is_over(self) -> bool:
        return time.monotonic() >= self._deadline

    def _completed(self, text: str, status: int) -> str:
        if status == NOT_RUN:
            raise ServerError(f"Command {self._shown} could not be run: {text.strip()}")
        if not text.endswith(END):
            # The wrapper was killed together with the command, which leaves the files.
            script = self._wrapper.recovered(exit_code=128 - status)  # signal n came as -n
            text = run_plain(self._connection, script)
        return text

    def parsed(self, text: str) -> tuple[bytes, bytes, int]:
        """Return the output, the error output and the exit code that the wrapper has printed."""
        if not text.endswith(END):
            raise ServerError(f"The output of command {self._shown} is lost: {text.strip()}")
        try:
            parsed = self._wrapper.parsed(text)
        except ValueError as error:
            raise ServerError(f"The output of command {self._shown} is not one: {error}") from error
        if parsed is None:
            raise ServerError(
                f"The output of command {self._shown} is lost: something in the sandbox has "
                "overwritten it or ended what keeps it, its disk is full, or it may have no more "
                "processes."
            )
        return parsed

    @property
    def _shown(self) -> str:
        """The command, for an error."""
        shown = self._command[:_SHOWN]
        return f"{shown!r}…" if len(self._command) > _SHOWN else repr(shown)

    def _prepared(self, cwd: str) -> str:
        """Return the command line for the server, once what it needs is in the sandbox."""
        connection, wrapper = self._connection, self._wrapper
        command = self._command if is_utf8(cwd) else f"cd {quoted(cwd)}; {self._command}"
        files = self._inputs.files(command)
        command = self._inputs.line(command, wrapper.folder, files, self._timeout)
        if files:
            self._has_files = True
            run_plain(connection, f"mkdir -m 700 {wrapper.folder}")
            for name, content in files.items():
                put(connection, f"{wrapper.folder}/{name}", content)
        # A server that cannot end a command has its process group killed instead.
        can_stop = versions.has(connection.version, versions.STOP_COMMAND)
        wrapped = wrapper.around(command, takes_input="in" in files, notes_group=not can_stop)
        if not versions.has(connection.version, versions.COMMAND_GROUP):
            wrapped = f"exec setsid sh -c {shlex.quote(wrapped)}"
        return wrapped
