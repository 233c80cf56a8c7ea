"""The workspace of an agent server: its files, its commands, its version control."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any, Self

from pydantic import SecretStr

from pytest_agent_sandbox.client import agent_runs, files, git
from pytest_agent_sandbox.client.agent_runs import AgentRun, RunObserver
from pytest_agent_sandbox.client.answers import an_object
from pytest_agent_sandbox.client.asynchronous import InThread, finish_in_thread
from pytest_agent_sandbox.client.command_inputs import CommandInputs
from pytest_agent_sandbox.client.commands import CommandResult, run_command
from pytest_agent_sandbox.client.git import GitChange, GitDiff, Snapshot
from pytest_agent_sandbox.client.transport import Guard, ServerConnection
from pytest_agent_sandbox.client.workspace_files import WorkspaceFiles
from pytest_agent_sandbox.errors import SandboxError, SandboxStartFailed, SettingsError
from pytest_agent_sandbox.host.closing import Closing

# Seconds for the server to delete a conversation.
_FORGET_TIMEOUT = 10.0


class RemoteWorkspace(WorkspaceFiles, Closing):
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
        explain_silence: As `ServerConnection` takes it.
    """

    #: Whether there is a desktop, on which an agent's browser then shows.
    has_desktop = False

    def __init__(
        self,
        host: str,
        api_key: SecretStr | str | None = None,
        working_dir: str = "/workspace/project",
        *,
        read_timeout: float = 600.0,
        guard: Guard | None = None,
        explain_silence: Guard | None = None,
    ) -> None:
        if not working_dir.startswith("/"):
            raise ValueError(f"working_dir must be an absolute path, not {working_dir!r}")
        self.working_dir = working_dir
        #: Called with the result of each `execute_command`.
        self.on_command: Callable[[CommandResult], object] | None = None
        #: Called with each secret value before the sandbox gets it.
        self.on_secret: Callable[[str], object] | None = None
        #: Called with the words and the variables of each `run_agent`, for who is to provide for
        #: it and follow it.
        self.on_agent_run: Callable[[tuple[str, ...], Mapping[str, str]], RunObserver] | None = None
        self.connection = ServerConnection(
            host,
            api_key,
            guard=guard,
            explain_silence=explain_silence,
            read_timeout=read_timeout,
        )

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
            patience = max(0.1, min(left, 5.0))
            problem = self.connection.probe("/ready", timeout=patience)
            if problem is not None and problem.status == HTTPStatus.NOT_FOUND:
                # Agent servers before 1.11 have another name for it.
                problem = self.connection.probe("/health", timeout=patience)
            if problem is None:
                return
            if left <= 0:
                raise SandboxStartFailed(
                    f"The agent server at {self.host} was not ready within {timeout:g} s: {problem}"
                )
            time.sleep(0.02)

    def alive(self) -> bool:
        """Return whether the server answers right now (within two seconds)."""
        try:
            return self.connection.probe("/alive", timeout=2.0) is None
        except SandboxError:  # the guard's
            return False

    def log_tail(self, lines: int = 50) -> str:  # noqa: ARG002 - for those that have the log
        """Return the last lines of the server's log; none where it is out of reach."""
        return ""

    def server_info(self) -> dict[str, Any]:
        """Return what the server says about itself: `version`, `usable_tools` and more."""
        return an_object(self.connection.get_json("/server_info"), "/server_info")

    def execute_command(
        self,
        command: str,
        *,
        cwd: str | None = None,
        timeout: float = 30.0,
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
            SettingsError: A variable's name is none, its value is no text, or the sandbox's user
                cannot become `user`.
            OSError: `cwd` does not exist in the sandbox, is no folder, or may not be entered.
            CommandTimeout: The command's end was not reported well past its timeout.
            SandboxPaused: The sandbox is paused, and the time is over.
            ServerError: The server refused or could not start the command, or its output is lost.
        """
        inputs = CommandInputs(
            env=env or {},
            stdin=stdin.encode() if isinstance(stdin, str) else stdin,
            user=None if user is None else str(user),
        )
        inputs.check("execute_command")
        if self.on_secret is not None:
            for value in inputs.env.values():
                # Its own folder is no secret, and is in many a variable.
                if self.working_dir not in value:
                    self.on_secret(value)
        result = self._execute(command, cwd, timeout, inputs)
        if self.on_command is not None:
            self.on_command(result)
        return result

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
        self._make_folder(cwd)
        observer = self.on_agent_run(words, env or {}) if self.on_agent_run is not None else None
        run = agent_runs.run_agent(
            self.connection,
            words,
            cwd=self.path(cwd or ""),
            timeout=timeout,
            variables=(env or {}) if observer is None else observer.variables,
            observer=observer,
        )
        if observer is not None:
            observer.ended(run)
        return run

    def _execute(
        self, command: str, cwd: str | None, timeout: float, inputs: CommandInputs | None = None
    ) -> CommandResult:
        run = partial(
            run_command,
            self.connection,
            command,
            cwd=self.path(cwd or ""),
            timeout=timeout,
            inputs=inputs,
        )
        try:
            return run()
        except FileNotFoundError:
            if cwd is not None:
                raise
        self._make_folder(cwd)
        return run()

    def _make_folder(self, cwd: str | None) -> None:
        """Make `working_dir`, where a command is to run in it."""
        if cwd is None:
            files.make_folder(self.connection, self.working_dir)

    def git_changes(self, path: str | None = None, *, base: str = "HEAD") -> list[GitChange]:
        """Return which files differ from a commit, those that git does not know yet included.

        Also those that git was told not to look at (`assume-unchanged`, `skip-worktree`).

        Args:
            path: A folder; `working_dir` by default. Repositories inside of it are looked into:
                submodules since the commit that is noted of them, others since their last one.
            base: The commit to compare with.

        Returns:
            One entry per file, by path from the folder. Nothing where that is no repository.

        Raises:
            FileNotFoundError: There is no such folder.
            ServerError: git failed, is not installed in the sandbox, or cannot tell it all: a
                folder may not be read, a filter such as git-crypt is missing. It names what can be
                told.
        """
        try:
            return git.changes(self.connection, self.path(path or ""), base)
        except FileNotFoundError:
            if path is None:  # nothing was done in it yet
                return []
            raise

    def git_diff(self, path: str, *, base: str = "HEAD") -> GitDiff:
        """Return both texts of a file: in a commit, and now; `.unified()` compares them.

        Raises:
            FileNotFoundError: The file exists neither there nor here.
            IsADirectoryError: It is a folder.
            ServerError: git is not installed in the sandbox.
        """
        absolute = self.path(path)
        return replace(git.diff(self.connection, absolute, base), path=path)

    def snapshot(self, *, timeout: float = 120.0) -> Snapshot:
        """Keep the files below `working_dir` as they are now, to compare with later.

        Ignored files are left out. The repository, if there is one, stays as it is; what git needs
        to remember is kept elsewhere in the sandbox, for as long as that lives. Of files over 8 MiB
        that is their size and git's id.

        Args:
            timeout: Seconds that it may take.

        Raises:
            ServerError: git failed, is not installed in the sandbox, or was not done in time.
        """
        try:
            return git.snapshot(self.connection, self.working_dir, timeout=timeout)
        except FileNotFoundError:
            self._execute("true", None, 30.0)  # makes the folder
            return git.snapshot(self.connection, self.working_dir, timeout=timeout)

    def changes_as_diff(self, *, base: str | Snapshot = "HEAD", max_bytes: int = 200_000) -> str:
        """Return all changes below `working_dir` as one text, in git's diff format.

        New files are included, ignored ones are not; binary files are only named, and those over
        8 MiB with their sizes. In a folder that is no repository all files are new. What is in
        repositories inside is included, commits as well. They and their indexes stay as they are.

        Args:
            base: The commit to compare with, or what `snapshot` returned.
            max_bytes: Length after which the text is cut, with a note that says so.

        Returns:
            The diff; at its end a note of what git cannot tell, if there is such.

        Raises:
            ServerError: git failed, or is not installed in the sandbox.
        """
        try:
            return git.changes_as_diff(
                self.connection, self.working_dir, base=base, max_bytes=max_bytes
            )
        except FileNotFoundError:
            return ""

    def forget(self, conversation_id: str) -> None:
        """Have the server delete a conversation, and end its terminal; as far as it can.

        A server that goes on serves others, and each conversation that it knows takes processes.

        Args:
            conversation_id: The conversation.
        """
        with suppress(SandboxError):
            path = f"/api/conversations/{conversation_id}"
            self.connection.request("DELETE", path, timeout=_FORGET_TIMEOUT)

    def as_openhands(self) -> Any:
        """Return this workspace as one of openhands-sdk, for its own `Conversation`.

        Example:
            ```python
            from openhands.sdk import LLM, Conversation
            from openhands.tools.preset.default import get_default_agent

            endpoint = agent_llm.endpoint(agent_workspace)
            llm = LLM(model=endpoint.model, base_url=endpoint.base_url, api_key=endpoint.api_key)
            agent = get_default_agent(llm=llm, cli_mode=True)
            conversation = Conversation(agent=agent, workspace=agent_workspace.as_openhands())
            ```

        Both talk to the same server. This one's `close` ends it for both.

        Returns:
            A `RemoteWorkspace` of the openhands-sdk that is installed here, tried with 1.58.

        Raises:
            SettingsError: It is not installed.
        """
        try:
            sdk = importlib.import_module("openhands.sdk.workspace")
        except ImportError as error:
            raise SettingsError(
                "as_openhands() needs openhands-sdk, and Python 3.12 or later: "
                f"pip install openhands-sdk openhands-tools ({error})"
            ) from error
        key = self.api_key
        return sdk.RemoteWorkspace(
            host=self.host,
            api_key=key.get_secret_value() if key is not None else None,
            working_dir=self.working_dir,
        )

    def close(self) -> None:
        """Close the connections to the server, which goes on running. May be called twice."""
        self.connection.close()

    # Their awaitable forms.
    await_until_ready = InThread(wait_until_ready)
    alog_tail = InThread(log_tail)
    aalive = InThread(alive)
    aserver_info = InThread(server_info)
    aexecute_command = InThread(execute_command)
    arun_agent = InThread(run_agent)
    agit_changes = InThread(git_changes)
    agit_diff = InThread(git_diff)
    asnapshot = InThread(snapshot)
    achanges_as_diff = InThread(changes_as_diff)
    aforget = InThread(forget)
    aclose = InThread(close, finishes=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await finish_in_thread(partial(self.__exit__, *raised))
