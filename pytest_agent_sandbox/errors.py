"""Every error of this package, in one tree; users import them from `pytest_agent_sandbox`.

What the agent got wrong is an assertion failure of the test. What the sandbox got wrong is a
`SandboxError`; the failure report tells the two apart by that class.
"""

from __future__ import annotations

#: How the note with a container's log begins; it is an error's first.
LOG_TITLE = "The container's last log lines:"


class SandboxError(Exception):
    """A fault of the sandbox, not of the agent: what happened, to what, what to do next.

    Args:
        message: One or two sentences a tired person understands.
        log: The last lines of the container's log, where they explain the error. They are added
            as an exception note, which pytest shows in every kind of report.

    Attributes:
        fault: Whose it is, for the report: `sandbox`; of some errors below `agent`, `test`,
            `script` (the script or the recording of LLM calls) or `budget`.
    """

    fault = "sandbox"

    def __init__(self, message: str, *, log: str = "") -> None:
        super().__init__(message)
        self.log = log
        if log:
            self.add_note(f"{LOG_TITLE}\n{log.rstrip()}")


class SettingsError(SandboxError):
    """A value that cannot be used, of an option, ini key, environment variable or argument."""

    fault = "test"


class EngineUnavailable(SandboxError):
    """The lack of an engine that answers; the message lists every address that was tried."""


class ImageNotFound(SandboxError):
    """An image that is neither on the engine nor at its registry, or lacks the wanted platform."""


class ImagePullFailed(SandboxError):
    """An image that could not be pulled: access was denied, or its registry is out of reach."""


class ImagePushFailed(SandboxError):
    """An image that its registry did not take: access was denied, or it is out of reach."""


class ImageBuildFailed(SandboxError):
    """A failed build of an image; the note holds the last lines of the build's output."""


class SandboxStartFailed(SandboxError):
    """A container that did not start, or whose server never answered; the note holds its log."""


class SandboxDied(SandboxError):
    """The end of a container that is still needed.

    Args:
        message: What happened, to which container.
        exit_code: The exit code of the container's first process; None where it is not known.
        out_of_memory: True when the kernel ended it for lack of memory.
        log: The last lines of the container's log.
    """

    def __init__(
        self,
        message: str,
        *,
        exit_code: int | None = None,
        out_of_memory: bool = False,
        log: str = "",
    ) -> None:
        super().__init__(message, log=log)
        self.exit_code = exit_code
        self.out_of_memory = out_of_memory


class SandboxPaused(SandboxError):
    """A container that was paused, and not resumed within the time that something in it had."""


class ServiceUnavailable(SandboxError):
    """A VS Code or desktop that a sandbox lacks or does not publish, or that does not answer."""

    fault = "test"


class ServerError(SandboxError):
    """A request that the agent server refused, or that did not reach it.

    Args:
        message: Which request, and what came back.
        status: The HTTP status; None when there was no answer at all.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ConversationClosed(ServerError):
    """A use of a conversation after it was closed."""

    fault = "test"


class ConversationMisused(SandboxError):
    """A message that was never run, or a run for which there is no message."""

    fault = "test"


class CommandTimeout(SandboxError):
    """A command whose end the server never reported, well past the command's own timeout."""


class ConversationFailed(SandboxError):
    """A run that ended in `error` or `stuck`; the message holds the server's own words."""

    fault = "agent"


class ConversationTimeout(SandboxError):
    """A run that did not end within the time that the test gave it."""

    fault = "agent"


class LLMScriptError(SandboxError):
    """A script of LLM replies that does not fit the agent, or comes too late for it."""

    fault = "script"


class LLMScriptExhausted(LLMScriptError):
    """A request for more LLM replies than the script holds."""


class LLMScriptMismatch(LLMScriptError):
    """A scripted call of a tool that the agent does not have, or that its schema refuses."""


class LLMScriptUnused(LLMScriptError):
    """Replies in the script that the agent never asked for."""


class FaultUnused(LLMScriptError):
    """A fault that the test asked for and that happened to no LLM call."""


class CassetteError(SandboxError):
    """A cassette that cannot be used; the message names the file."""

    fault = "script"


class CassetteMiss(CassetteError):
    """A request of the agent to its LLM that was not recorded.

    Args:
        message: Which call, and where it differs from the nearest recording.
        difference: The whole of that, where the message holds its beginning.
    """

    def __init__(self, message: str, *, difference: str = "") -> None:
        super().__init__(message)
        self.difference = difference


class CassetteUnused(CassetteError):
    """Recorded answers that the agent never asked for."""


class BudgetExceeded(SandboxError):
    """An LLM call that was refused, as it would exceed what the test or the run may spend."""

    fault = "budget"


# Users know them by this name: tracebacks and pytest's summaries show it before the message.
for _error in list(vars().values()):
    if isinstance(_error, type) and issubclass(_error, SandboxError):
        _error.__module__ = __name__.rpartition(".")[0]
del _error
