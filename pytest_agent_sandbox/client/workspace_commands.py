"""The commands and the command-line agents that run in a workspace."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from pytest_agent_sandbox.client import agent_runs, files
from pytest_agent_sandbox.client.agent_runs import AgentRun, RunObserver
from pytest_agent_sandbox.client.asynchronous import InThread
from pytest_agent_sandbox.client.background_commands import BackgroundCommand
from pytest_agent_sandbox.client.command_inputs import CommandInputs, not_a_command_line
from pytest_agent_sandbox.client.commands import CommandResult, left_until, run_command
from pytest_agent_sandbox.client.server_commands import START_TIMEOUT
from pytest_agent_sandbox.client.workspace_files import WorkspaceFiles
from pytest_agent_sandbox.errors import SettingsError


class WorkspaceCommands(WorkspaceFiles):
    """A workspace in which commands run, and agents that are plain programs."""

    #: Called with the result of each `execute_command`.
    on_command: Callable[[CommandResult], object] | None = None
    #: Called with each secret value before the sandbox gets it.
    on_secret: Callable[[str], object] | None = None
    #: Called with the words and the variables of each `run_agent`; returns who provides for that
    #: run and follows it, if anybody does.
    on_agent_run: Callable[[tuple[str, ...], Mapping[str, str]], RunObserver | None] | None = None

    def execute_command(
        self,
        command: str,
        cwd: str | None = None,
        timeout: float = 30.0,
        *,
        env: Mapping[str, str] | None = None,
        stdin: str | bytes | None = None,
        user: str | int | None = None,
    ) -> CommandResult:
        """Run a shell command (`/bin/sh`) in the sandbox and wait for it.

        A failing command is a result, not an error; `result.check()` makes it one. Background
        processes (`server &`) are not waited for and go on running.

        Args:
            command: The command line, of any length.
            cwd: Folder to run it in, relative to `working_dir`; `working_dir` by default.
            timeout: Seconds, fractions included, after which the command is ended: the result
                then has `timed_out` set, exit code -1, and the output until then.
            env: Further environment variables. In a test their values are masked wherever they
                show; they are in no command line and no log.
            stdin: Its standard input, text as UTF-8; empty by default.
            user: Name or number of the user to run it as, such as `root`. The sandbox's own user
                has to be able to become that one: with `security="sudo"`, or where it is root.

        Raises:
            ValueError: The timeout is not positive, or the command holds a NUL.
            SettingsError: The command is not one text, a variable's name is none, its value is no
                text, or the sandbox's user cannot become `user`.
            OSError: `cwd` does not exist in the sandbox, is no folder, or may not be entered.
            CommandTimeout: The server did not tell of the command any more when its timeout struck,
                or not of its end within 15 s after it was to be ended.
            SandboxPaused: The sandbox is paused, and the time is over.
            ServerError: The server refused or could not start the command, did not answer to that
                in the time, or the output is lost.
        """
        if not isinstance(command, str):
            raise SettingsError(not_a_command_line(command))
        inputs = CommandInputs(
            env=env or {},
            stdin=stdin.encode() if isinstance(stdin, str) else stdin,
            user=None if user is None else str(user),
        )
        inputs.check("execute_command")
        if self.on_secret is not None:
            for value in inputs.env.values():
                # Many variables hold the folder's own path, which is no secret.
                if self.working_dir not in value:
                    self.on_secret(value)
        result = self._execute(command, cwd, timeout, inputs)
        if self.on_command is not None:
            self.on_command(result)
        return result

    def start_command(
        self,
        command: str,
        *,
        cwd: str | None = None,
        lifetime: float | None = None,
        timeout: float = START_TIMEOUT,
    ) -> BackgroundCommand:
        """Start a shell command and return at once; its output and its end are asked for later.

        Example:
            ```python
            server = agent_workspace.start_command("python -m http.server 8080")
            ...
            server.stop()
            assert "GET /" in server.printed().stderr
            ```

        What is left of it at the end of the test goes with the sandbox.

        Args:
            command: The command line.
            cwd: Folder to run it in, relative to `working_dir`; `working_dir` by default.
            lifetime: Seconds after which the server ends it; None for a day.
            timeout: Seconds for the server to start it.

        Raises:
            ServerError: The server refused, or did not answer in time.
        """
        end = time.monotonic() + timeout
        with self.connection.time.within(timeout):
            self._make_folder(cwd, timeout)
            folder = self.path(cwd or "")
            return BackgroundCommand(
                self.connection, command, folder, lifetime, timeout=left_until(end)
            )

    def run_agent(
        self,
        command: Sequence[str],
        *,
        timeout: float = 600.0,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> AgentRun:
        """Run an agent that is a plain program, and wait for it.

        Example:
            ```python
            run = agent_workspace.run_agent(["my-agent", "--task", "Fix the test."], timeout=300)
            assert run.exit_code == 0
            ```

        Its output is the transcript: it is shown and kept as it comes. In a test that asks for
        `agent_llm`, its LLM calls lead through the gateway by the variables that LLM clients read:
        `OPENAI_BASE_URL` and `OPENAI_API_KEY`, `ANTHROPIC_BASE_URL` and `ANTHROPIC_API_KEY`. The
        model is in `LLM_MODEL`, and `OPENAI_MODEL` or `ANTHROPIC_MODEL`, unless a script leaves it
        open. docs/agents.md has commands that work for well-known agents.

        Args:
            command: The program and its arguments, as words; its standard input is empty.
            timeout: Seconds, fractions included, after which it is ended: the run then has
                `timed_out` set, exit code -1, and the output until then.
            env: Further environment variables; they show in no command line and no log.
            cwd: Folder to run it in, relative to `working_dir`; `working_dir` by default.

        Returns:
            Its `exit_code`, `output`, `duration` and `timed_out`. An agent that failed is a
            result, not an error; `run.check()` makes it one.

        Raises:
            SettingsError: The command is not a list of words, or a variable's name is none, or
                its value is no text.
            FileNotFoundError: `cwd` does not exist in the sandbox.
            SandboxError: Whatever makes waiting pointless: the sandbox died, the agent asked its
                LLM for more than was scripted.
            ServerError: The server refused or could not start the command.
        """
        words = agent_runs.words(command)
        began = time.monotonic()
        end = began + timeout
        self._make_folder(cwd, timeout)
        observer = self.on_agent_run(words, env or {}) if self.on_agent_run is not None else None
        run = agent_runs.run_agent(
            self.connection,
            words,
            cwd=self.path(cwd or ""),
            timeout=left_until(end),
            variables=(env or {}) if observer is None else observer.variables,
            observer=observer,
        )
        run = replace(run, duration=time.monotonic() - began, timeout=timeout)
        if observer is not None:
            observer.ended(run)
        return run

    def _execute(
        self, command: str, cwd: str | None, timeout: float, inputs: CommandInputs | None = None
    ) -> CommandResult:
        began = time.monotonic()
        end = began + timeout
        run = partial(
            run_command, self.connection, command, cwd=self.path(cwd or ""), inputs=inputs
        )
        try:
            return run(timeout=timeout)
        except FileNotFoundError:
            if cwd is not None:
                raise
        self._make_folder(cwd, left_until(end))
        result = run(timeout=left_until(end))
        return replace(result, duration=time.monotonic() - began, timeout=timeout)

    def _make_folder(self, cwd: str | None, timeout: float) -> None:
        """Make `working_dir`, where a command is to run in it."""
        if cwd is None:
            files.make_folder(self.connection, self.working_dir, timeout)

    # Their awaitable forms.
    aexecute_command = InThread(execute_command)
    astart_command = InThread(start_command)
    arun_agent = InThread(run_agent)
