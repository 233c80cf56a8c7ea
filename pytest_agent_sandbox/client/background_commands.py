"""Commands that go on while the test does."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass

from pytest_agent_sandbox.client import files, server_commands, versions
from pytest_agent_sandbox.client.asynchronous import InThread
from pytest_agent_sandbox.client.commands import CommandResult
from pytest_agent_sandbox.client.guard import GUARD_INTERVAL
from pytest_agent_sandbox.client.remote_paths import quoted
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import CommandTimeout, ServerError

# Seconds that the server lets one run whose caller sets no limit: a day.
_A_DAY = 86_400.0


@dataclass(frozen=True)
class Printed:
    """What a command has printed so far; bytes that are not UTF-8 are replaced.

    Attributes:
        stdout: Its output.
        stderr: Its error output.
    """

    stdout: str
    stderr: str


class BackgroundCommand:
    """A command that was started, and is not waited for: see `start_command`.

    Args:
        connection: The server.
        command: The command line.
        cwd: Absolute path of the folder to run it in.
        lifetime: Seconds after which the server ends it; None for a day.
        timeout: Seconds for the server to start it.

    Attributes:
        command: The command as it was given.
    """

    def __init__(
        self,
        connection: ServerConnection,
        command: str,
        cwd: str,
        lifetime: float | None,
        *,
        timeout: float = server_commands.START_TIMEOUT,
    ) -> None:
        self.command = command
        self._connection = connection
        self._began = time.monotonic()
        # The server tells of the output only when the command has ended.
        self._folder = f"/tmp/.agent-sandbox-{uuid.uuid4().hex}"  # noqa: S108 - in the sandbox
        script = (
            f"mkdir -m 700 {self._folder} && exec >{self._folder}/out 2>{self._folder}/err "
            f"</dev/null && eval {quoted(command)}"
        )
        with connection.time.within(timeout):
            self._id = server_commands.start(connection, script, cwd, lifetime or _A_DAY)

    @property
    def result(self) -> CommandResult | None:
        """Its result; None while it runs.

        Raises:
            OSError: It could not be started in its folder.
            ServerError: The server refused, or did not answer.
        """
        ended = server_commands.output_of(self._connection, self._id, deadline=0.0)
        if ended is None:
            return None
        text, code = ended
        printed = self.printed()
        return CommandResult(
            command=self.command,
            exit_code=code,
            stdout=printed.stdout,
            stderr=printed.stderr or text,
            duration=time.monotonic() - self._began,
        )

    def printed(self) -> Printed:
        """Return what it has printed so far.

        Raises:
            ServerError: The server refused, or did not answer.
        """
        return Printed(*(self._read(name) for name in ("out", "err")))

    def wait(self, timeout: float = 30.0) -> CommandResult:
        """Wait for its end.

        Args:
            timeout: Seconds. It goes on where they do not suffice.

        Raises:
            CommandTimeout: It has not ended by then.
            SandboxError: Whatever makes waiting pointless.
        """
        end = time.monotonic() + timeout
        pause = 0.005
        with self._connection.time.within(timeout + server_commands.ANSWER_GRACE):
            while (result := self.result) is None:
                if time.monotonic() >= end:
                    raise CommandTimeout(
                        f"Command {self.command!r:.200} has not ended within {timeout:g} s."
                    )
                self._connection.check()
                time.sleep(min(pause, max(0.0, end - time.monotonic())))
                pause = min(pause * 1.5, GUARD_INTERVAL)
        return result

    def stop(self) -> None:
        """End it and all that it started: SIGTERM, and SIGKILL a second later.

        Raises:
            ServerError: The server is too old for it (before 1.52), or did not answer.
        """
        version = self._connection.version
        if not versions.has(version, versions.STOP_COMMAND):
            raise ServerError(versions.lacking(version, "stop a command", versions.STOP_COMMAND))
        server_commands.stop(self._connection, self._id, "")

    def _read(self, name: str) -> str:
        try:
            content = files.read_bytes(self._connection, f"{self._folder}/{name}")
        except FileNotFoundError:  # it has not begun yet
            return ""
        return content.decode(errors="replace")

    await_end = InThread(wait)
    aprinted = InThread(printed)
    astop = InThread(stop)
