"""Versions of the agent server: which were tested, in what they differ, and what is done about it.

`scripts/compat` tests them and makes docs/compatibility.md out of what it finds and of this module.
"""

from __future__ import annotations

import re
import threading
import warnings
from dataclasses import dataclass
from urllib.parse import quote

#: The oldest and the newest minor version that were tested and found to work.
TESTED = ((1, 10), (1, 58))

# The first version with each of these. The client asks `has` wherever it matters.
#: `/ready`; before, `/health` is what there is.
READY_ROUTE = (1, 11)
#: The path of a file as a parameter; before, it is a part of the address.
FILE_PARAMETER = (1, 13)
#: Authentication in the first frame of a WebSocket; before, that would be a message to the agent.
FIRST_FRAME = (1, 18)
#: Forks of a conversation.
FORK = (1, 18)
#: LLMs whose answers come as a stream.
STREAMING_LLM = (1, 18)
#: Another LLM for a conversation that is there.
SWITCH_LLM = (1, 19)
#: Commands in a process group of their own; before, theirs is the server's.
COMMAND_GROUP = (1, 22)
#: The interrupt of a run.
INTERRUPT = (1, 23)
#: Forks with the settings of what they were forked from.
FORK_KEEPS_SETTINGS = (1, 28)
#: Servers that start before they are told their work: deferred init.
DORMANT_START = (1, 29)
#: MCP servers by name; before, they are in an envelope.
PLAIN_MCP_SERVERS = (1, 32)
#: The end of a command that is running.
STOP_COMMAND = (1, 52)
#: A user's message is sent before the news that there is one.
MESSAGE_FIRST = (1, 58)

_NUMBERS = re.compile(r"(\d+)\.(\d+)")
_warned: set[str] = set()
_warned_lock = threading.Lock()


class AgentServerVersionWarning(UserWarning):
    """The agent server is of a version that this client was not tested with."""


@dataclass(frozen=True)
class Difference:
    """A difference between versions of the agent server and the newest.

    Attributes:
        name: What it is about.
        before: The first minor version that does not have it any more.
        text: How it shows, and what the client does about it.
    """

    name: str
    before: tuple[int, int]
    text: str

    @property
    def versions(self) -> str:
        """The versions that have it, in words."""
        return f"before {named(self.before)}"


#: All that is known, newest first.
DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "order of a user's message",
        MESSAGE_FIRST,
        "Its news can come before the message itself, which is before it in the server's "
        "log: the client fetches it then.",
    ),
    Difference(
        "timeout of commands",
        STOP_COMMAND,
        "The server cannot end a command by its id: the client ends it by a second command.",
    ),
    Difference(
        "dormant start",
        DORMANT_START,
        "A server cannot be up before it knows its variables: a sandbox that was started ahead "
        "serves only tests with the variables that it was started with.",
    ),
    Difference(
        "settings of a fork",
        FORK_KEEPS_SETTINGS,
        "A fork has the server's own limit of steps, and would ask its LLM for a title: the client "
        "gives it one.",
    ),
    Difference(
        "fork after a run",
        (1, 27),
        "Found in 1.25 and 1.26, not in 1.24: the server answers 500 to the fork of a conversation "
        "that has run.",
    ),
    Difference(
        "order of events",
        (1, 24),
        "Found in 1.20, not in 1.15: events are sent in another order than they have in the "
        "server's log. Each arrives, once.",
    ),
    Difference(
        "interrupt",
        INTERRUPT,
        "A run cannot be interrupted: `interrupt` raises `ServerError`, and a run that takes "
        "longer than its timeout is paused, which takes effect when its tool is done.",
    ),
    Difference(
        "process group of commands",
        COMMAND_GROUP,
        "Commands share the server's process group: the client gives them one of their own.",
    ),
    Difference(
        "key of a fork",
        SWITCH_LLM,
        "The client cannot give a fork its API keys: it has them only where the server keeps them "
        "(`OH_SECRET_KEY`, which sandboxes have).",
    ),
    Difference(
        "streaming",
        STREAMING_LLM,
        "An agent whose LLM has `stream` set makes no step: leave it unset.",
    ),
    Difference("fork", FORK, "Conversations cannot be forked: `fork` raises `ServerError`."),
    Difference(
        "key of the event stream",
        FIRST_FRAME,
        "The session key is a part of the WebSocket's address, which the server's log may show.",
    ),
    Difference(
        "addresses of files",
        FILE_PARAMETER,
        "The path of a file is a part of the address; the client writes it so.",
    ),
    Difference("readiness", READY_ROUTE, "There is no `/ready`: the client asks `/health`."),
    Difference(
        "errors, secrets, rejections",
        TESTED[0],
        "Found in 1.0: a request waits for the run, failures of the LLM are no events, secrets "
        "have another form, the reason of a rejection is not kept. Such a server serves for "
        "commands, files and plain conversations.",
    ),
)


def minor_of(version: str) -> tuple[int, int] | None:
    """Return the first two numbers of a version; None where it does not begin with two numbers.

    Args:
        version: As the server says it, such as `1.58.0`.
    """
    found = _NUMBERS.match(version)
    return (int(found[1]), int(found[2])) if found else None


def has(version: str, since: tuple[int, int]) -> bool:
    """Tell whether a server has what came with a version. One that does not say its own has all.

    Args:
        version: As the server says it, such as `1.58.0`.
        since: One of this module's constants.
    """
    minor = minor_of(version)
    return minor is None or minor >= since


def stopping_action(version: str) -> str:
    """Return the action that stops an agent: at once, or else after its current step."""
    return "interrupt" if has(version, INTERRUPT) else "pause"


def lacking(version: str, what: str, since: tuple[int, int]) -> str:
    """Return what to say where a server cannot do what was asked of it."""
    return (
        f"The agent server is of version {version}, which cannot {what}; "
        f"agent servers since {named(since)} can."
    )


def file_request(version: str, action: str, path: str) -> tuple[str, dict[str, str]]:
    """Return the address, and its parameters, where a file is up- or downloaded.

    Args:
        version: The server's.
        action: `upload` or `download`.
        path: Absolute path of the file in the sandbox.
    """
    if has(version, FILE_PARAMETER):
        return f"/api/file/{action}", {"path": path}
    return f"/api/file/{action}/{quote(path)}", {}


def named(minor: tuple[int, int]) -> str:
    """Return a minor version as people write it."""
    return f"{minor[0]}.{minor[1]}"


def differences(version: str) -> list[Difference]:
    """Return in what a version is known to differ from the newest that was tested.

    Args:
        version: As the server says it, such as `1.58.0`.
    """
    minor = minor_of(version)
    return [one for one in DIFFERENCES if minor is not None and minor < one.before]


def warn_if_untested(version: str) -> None:
    """Warn of a version outside of the tested range, once in this process.

    Args:
        version: As the server says it, such as `1.58.0`; what is no version is not warned of.
    """
    minor = minor_of(version)
    oldest, newest = TESTED
    if minor is None or oldest <= minor <= newest:
        return
    version = f"{version:.40}"
    with _warned_lock:
        if version in _warned:
            return
    known = "".join(f"\n- {one.name}: {one.text}" for one in differences(version))
    warnings.warn(
        f"The agent server is of version {version!r}; this client was tested with "
        f"{named(oldest)} to {named(newest)}. "
        + (f"Known to differ:{known}" if known else "Nothing is known of what is different in it."),
        AgentServerVersionWarning,
        stacklevel=3,
    )
    with _warned_lock:
        _warned.add(version)  # after the warning: where it is an error, each test gets it
