"""The workspace of an agent server: its files, its commands, its version control."""

from __future__ import annotations

import posixpath
import shlex
import time
from types import TracebackType
from typing import Any

from pydantic import SecretStr

from pytest_agent_sandbox.client.commands import CommandResult, run_command
from pytest_agent_sandbox.client.transport import Guard, ServerConnection
from pytest_agent_sandbox.errors import SandboxError, SandboxStartFailed


class RemoteWorkspace:
    """The workspace of a running agent server, wherever it runs.

    Example:
        ```python
        with RemoteWorkspace("http://127.0.0.1:8000", api_key) as workspace:
            workspace.write_text("notes.txt", "hello")
            assert workspace.execute_command("cat notes.txt").stdout == "hello"
        ```

    Args:
        host: Address of the agent server.
        api_key: Its session key; None for a server without authentication.
        working_dir: Folder in the sandbox that relative paths start from and commands run in. It
            is made when something is first written to it, or run in it.
        read_timeout: Seconds of silence after which a request is given up.
        guard: Raises the reason once waiting for the server has become pointless.
    """

    def __init__(
        self,
        host: str,
        api_key: SecretStr | str | None = None,
        working_dir: str = "/workspace/project",
        *,
        read_timeout: float = 600.0,
        guard: Guard | None = None,
    ) -> None:
        if not working_dir.startswith("/"):
            raise ValueError(f"working_dir must be an absolute path, not {working_dir!r}")
        self.working_dir = working_dir
        self.connection = ServerConnection(host, api_key, guard=guard, read_timeout=read_timeout)

    @property
    def host(self) -> str:
        """Address of the server."""
        return self.connection.host

    @property
    def api_key(self) -> SecretStr | None:
        """The server's session key."""
        return self.connection.api_key

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Wait until the server answers.

        Args:
            timeout: Seconds.

        Raises:
            SandboxStartFailed: It did not answer in time.
            SandboxError: Whatever the guard knows to be the cause.
        """
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            problem = self.connection.probe("/ready", timeout=max(0.1, min(left, 5.0)))
            if not problem:
                return
            if left <= 0:
                raise SandboxStartFailed(
                    f"The agent server at {self.host} was not ready within {timeout:g} s: {problem}"
                )
            time.sleep(0.02)

    def alive(self) -> bool:
        """Return whether the server answers right now (within two seconds)."""
        try:
            return not self.connection.probe("/alive", timeout=2.0)
        except SandboxError:  # the guard's
            return False

    def server_info(self) -> dict[str, Any]:
        """Return what the server says about itself: `version`, `usable_tools` and more."""
        info: dict[str, Any] = self.connection.get_json("/server_info")
        return info

    def execute_command(
        self, command: str, *, cwd: str | None = None, timeout: float = 30.0
    ) -> CommandResult:
        """Run a shell command (`/bin/sh`) in the sandbox and wait for it.

        A failing command is a result, not an error; `result.check()` makes it one. Background
        processes (`server &`) are not waited for and go on running.

        Args:
            command: The command line; its standard input is empty.
            cwd: Folder to run it in, relative to `working_dir`; `working_dir` by default.
            timeout: Seconds, fractions included, after which the command is ended: the result
                then has `timed_out` set, exit code -1, and the output until then.

        Raises:
            FileNotFoundError: `cwd` does not exist in the sandbox.
            CommandTimeout: The command's end was not reported well past its timeout.
            ServerError: The server refused or could not start the command.
        """
        folder = self.path(cwd or "")
        try:
            return run_command(self.connection, command, cwd=folder, timeout=timeout)
        except FileNotFoundError:
            if cwd is not None:
                raise
        make = f"mkdir -p {shlex.quote(folder)}"
        run_command(self.connection, make, cwd="/", timeout=10.0).check()
        return run_command(self.connection, command, cwd=folder, timeout=timeout)

    def path(self, path: str) -> str:
        """Return the absolute path in the sandbox; relative ones start from `working_dir`."""
        return posixpath.normpath(posixpath.join(self.working_dir, path))

    def close(self) -> None:
        """Close the connections to the server, which goes on running. May be called twice."""
        self.connection.close()

    def __enter__(self) -> RemoteWorkspace:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
