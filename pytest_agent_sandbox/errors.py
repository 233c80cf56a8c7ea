"""Every error of this package, in one tree.

What the agent got wrong is an assertion failure of the test. What the sandbox got wrong is a
`SandboxError`; the failure report tells the two apart by that class.
"""

from __future__ import annotations

#: How the note with a container's log begins; it is an error's first.
LOG_TITLE = "The container's last log lines:"


class SandboxError(Exception):
    """Something the sandbox, not the agent, got wrong: what happened, to what, what to do next.

    Args:
        message: One or two sentences a tired person understands.
        log: The last lines of the container's log, where they explain the error. They are added
            as an exception note, which pytest shows in every kind of report.

    Attributes:
        fault: Whose it is, for the report: `sandbox`; of some errors below `agent`, `test` or
            `budget`.
    """

    fault = "sandbox"

    def __init__(self, message: str, *, log: str = "") -> None:
        super().__init__(message)
        self.log = log
        if log:
            self.add_note(f"{LOG_TITLE}\n{log.rstrip()}")


class SettingsError(SandboxError):
    """An option, ini key, environment variable or argument has a value that cannot be used."""

    fault = "test"


class EngineUnavailable(SandboxError):
    """No container engine answers; the message lists every address that was tried."""


class ImageNotFound(SandboxError):
    """The image is neither on the engine nor at its registry, or lacks the wanted platform."""


class ImagePullFailed(SandboxError):
    """The image could not be pulled: access was denied, or its registry is out of reach."""


class ImageBuildFailed(SandboxError):
    """Building an image failed; the note holds the last lines of the build's output."""


class SandboxStartFailed(SandboxError):
    """The container did not start, or its server never answered; the note holds its log."""


class SandboxDied(SandboxError):
    """The container is gone although it is still needed.

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
    """The container was paused, and not resumed within the time that something in it had."""


class ServiceUnavailable(SandboxError):
    """A sandbox has no VS Code or desktop, does not publish it, or it does not answer."""

    fault = "test"


class ServerError(SandboxError):
    """The agent server refused a request, or could not be reached.

    Args:
        message: Which request, and what came back.
        status: The HTTP status; None when there was no answer at all.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class CommandTimeout(SandboxError):
    """The server never reported the end of a command, well past the command's own timeout."""


class ConversationFailed(SandboxError):
    """A run ended in `error` or `stuck`; the message holds the server's own words."""

    fault = "agent"


class ConversationTimeout(SandboxError):
    """A run did not end within the time that the test gave it."""

    fault = "agent"


class LLMScriptError(SandboxError):
    """The agent and the script of LLM replies do not agree."""

    fault = "agent"


class LLMScriptExhausted(LLMScriptError):
    """The agent asked its LLM for more replies than the script holds."""


class LLMScriptUnused(LLMScriptError):
    """The test ended with replies in the script that the agent never asked for."""


class FaultUnused(LLMScriptError):
    """The test ended before a fault that it had asked for could happen to an LLM call."""


class CassetteError(SandboxError):
    """A cassette cannot be used; the message names the file."""

    fault = "test"


class CassetteMiss(CassetteError):
    """The agent asked its LLM for something that was not recorded.

    Args:
        message: Which call, and where it differs from the nearest recording.
    """

    fault = "agent"


class CassetteUnused(CassetteError):
    """The test ended with recorded answers that the agent never asked for."""

    fault = "agent"


class BudgetExceeded(SandboxError):
    """An LLM call was refused, for it would have gone over what the test or the run may spend."""

    fault = "budget"
