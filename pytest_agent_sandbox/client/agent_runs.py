"""Agents that are plain programs: a command, its output, its exit code."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pytest_agent_sandbox.client.command_inputs import CommandInputs
from pytest_agent_sandbox.client.commands import CommandResult, run_command
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import SettingsError


@dataclass(frozen=True)
class AgentRun:
    """The result of a run of a command-line agent.

    Attributes:
        command: The program and its arguments.
        exit_code: Its exit code; -1 when its timeout struck, 128 + n when signal n ended it.
        output: What it printed, error output included, in order.
        duration: Seconds from the request to the result.
        timed_out: True when it was ended because its timeout struck.
        truncated: True when it printed more than 64 MiB and was ended for that; the rest is lost.
        timeout: Seconds that it had.
    """

    command: tuple[str, ...]
    exit_code: int
    output: str
    duration: float = field(default=0.0, compare=False)
    timed_out: bool = False
    truncated: bool = False
    timeout: float = field(default=0.0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"Agent {shlex.join(self.command)} {self.outcome}.\n{self.output}".rstrip()

    @property
    def outcome(self) -> str:
        """How it ended, in words."""
        if self.timed_out:
            return f"was ended by its timeout of {self.timeout:g} s"
        return f"ended with exit code {self.exit_code} after {self.duration:.1f} s"

    def check(self) -> AgentRun:
        """Return the run itself.

        Raises:
            AssertionError: It failed; the message holds its output.
        """
        if self.exit_code != 0:
            raise AssertionError(str(self))
        return self


class RunObserver(Protocol):
    """Someone who provides for one run of an agent, and follows it."""

    #: Environment variables for it: those that were asked for, and such as lead to its LLM.
    variables: Mapping[str, str]

    def check(self) -> None:
        """Raise what has made waiting for the agent pointless."""

    def output(self, text: str) -> None:
        """Be told whole lines of its output as they come."""

    def ended(self, run: AgentRun) -> None:
        """Be told how it ended, unless waiting for it failed."""


def words(command: Sequence[str]) -> tuple[str, ...]:
    """Return the command.

    Raises:
        SettingsError: It is not a list of words.
    """
    if isinstance(command, str) or not command or not all(isinstance(w, str) for w in command):
        raise SettingsError(
            f'run_agent(command) takes a list of words, such as ["my-agent", "--task", "…"], not '
            f'{command!r}. For a line of the shell: ["sh", "-c", "…"].'
        )
    return tuple(command)


def run_agent(
    connection: ServerConnection,
    command: tuple[str, ...],
    *,
    cwd: str,
    timeout: float,
    variables: Mapping[str, str],
    observer: RunObserver | None,
) -> AgentRun:
    """Run a command-line agent and wait for its end.

    Args:
        connection: The server.
        command: The program and its arguments.
        cwd: Absolute path of an existing folder in the sandbox.
        timeout: Seconds, as `run_command` takes them.
        variables: Environment variables for it; they show in no command line and no log.
        observer: Follows it.

    Raises:
        SettingsError: A variable's name is none, or its value is no text.
        BaseException: As `run_command` does.
    """
    inputs = CommandInputs(variables)
    inputs.check("run_agent")
    result: CommandResult = run_command(
        connection,
        f"exec 2>&1; exec {shlex.join(command)}",
        cwd=cwd,
        timeout=timeout,
        inputs=inputs,
        on_output=None if observer is None else observer.output,
        guard=None if observer is None else observer.check,
    )
    return AgentRun(
        command=command,
        exit_code=result.exit_code,
        output=result.stdout,
        duration=result.duration,
        timed_out=result.timed_out,
        truncated=result.truncated,
        timeout=result.timeout,
    )
