"""The wait for what runs in a container to answer."""

from __future__ import annotations

import time
from collections.abc import Callable

from pytest_agent_sandbox.errors import SandboxStartFailed
from pytest_agent_sandbox.host.program import RunningContainer

# Seconds between two questions. The first ones follow quickly, for servers that are up at once;
# later ones leave the CPU to the server that is starting.
_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.025

#: What to do where a start has taken too long.
AFTER_A_TIMEOUT = (
    "Where the machine is only slow, give it longer by --sandbox-start-timeout=SECONDS, or start "
    "fewer at once (--sandbox-pool-size, -n); else the container's log below says what hangs."
)


def wait_until(
    answering: Callable[[], bool],
    container: RunningContainer,
    *,
    timeout: float,
    since: float | None = None,
) -> float:
    """Ask again and again until the answer is yes.

    Args:
        answering: The question, such as whether a health page can be read. It should bound itself.
        container: Who has to live for it; its death ends the waiting at once.
        timeout: How long to wait, in seconds.
        since: When the time began, by the monotonic clock; now by default.

    Returns:
        How long it took, in seconds.

    Raises:
        SandboxDied: The container is gone.
        SandboxStartFailed: The time is over; the note holds the container's log.
    """
    began = time.monotonic() if since is None else since
    pause = _FIRST_PAUSE
    while not answering():
        container.check()
        waited = time.monotonic() - began
        if waited > timeout:
            raise SandboxStartFailed(
                f"Container {container.name} of {container.image} runs, but what is in it did "
                f"not answer within {waited:.1f} s. {AFTER_A_TIMEOUT}",
                log=container.log_tail(),
            )
        container.wait_for_end(pause)
        pause = min(pause * 1.2, _LONGEST_PAUSE)
    return time.monotonic() - began
