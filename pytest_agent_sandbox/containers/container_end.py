"""The end of a container: noticed at once, explained, and told to whoever uses it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pytest_agent_sandbox.containers.container_state import ContainerState
from pytest_agent_sandbox.containers.exit_codes import explain_exit
from pytest_agent_sandbox.errors import SandboxDied, SandboxError

# Seconds between the end of a container's output and the engine calling it ended (it takes down
# the container's network first, usually in 0.15 s). After them, the connection is what broke.
_END_GRACE = 1.0
_END_POLL = 0.02
# Seconds an engine may be away before the container counts as lost.
_ENGINE_GRACE = 0.5


class ContainerEnd:
    """The end of one container, be it by itself or by us.

    Args:
        ask: Asks the engine how the container is.
        describe: Returns the container's name and image, for messages.
        log_tail: Returns the last lines that it printed.
    """

    def __init__(
        self,
        ask: Callable[[], ContainerState],
        describe: Callable[[], str],
        log_tail: Callable[[], str],
    ) -> None:
        self._ask = ask
        self._describe = describe
        self._log_tail = log_tail
        self._let_go = threading.Event()
        self._over = threading.Event()
        self._death: ContainerState | None = None
        self._death_message = ""

    @property
    def is_let_go(self) -> bool:
        """Whether its use is over."""
        return self._let_go.is_set()

    def let_go(self) -> None:
        """Expect the end: nobody is to be told of it any more."""
        self._let_go.set()

    def complete(self) -> None:
        """Wake whoever waits for the end: it has come."""
        self._over.set()

    def wait(self, timeout: float) -> bool:
        """Sleep until the container is over or the seconds are; tell whether it is over."""
        return self._over.wait(timeout)

    def check(self, name: str) -> None:
        """Raise if the container is gone; asks nobody.

        Args:
            name: The container's name.

        Raises:
            SandboxDied: It is.
        """
        if self.is_let_go:
            raise SandboxDied(f"Container {name} was removed when its use was over.")
        if self._death is not None:
            raise SandboxDied(
                self._death_message,
                exit_code=self._death.exit_code,
                out_of_memory=self._death.out_of_memory,
                log=self._log_tail(),
            )

    def notice(self) -> bool:
        """Find out why the container's output ended; return False if nothing else did."""
        began = time.monotonic()
        while not self.is_let_go:
            waited = time.monotonic() - began
            try:
                state = self._ask()
            except SandboxError as error:
                if waited > _ENGINE_GRACE:
                    self._declare(ContainerState("unknown"), f"is lost: {error}")
                    return True
            else:
                if state.status in ("removing", "removed"):
                    self._declare(ContainerState("removed"), "was removed by somebody else")
                    return True
                if state.status in ("exited", "dead"):
                    reason = explain_exit(state.exit_code, out_of_memory=state.out_of_memory)
                    self._declare(state, reason)
                    return True
                if waited > _END_GRACE:
                    return False
            self._let_go.wait(_END_POLL)
        return True

    def notice_cut_off(self, reason: str) -> None:
        """Take note that nobody can reach what is inside any more, unless it has ended.

        Args:
            reason: Why, in words.
        """
        deadline = time.monotonic() + _END_GRACE
        while not (self.is_let_go or self._over.is_set()):
            if time.monotonic() > deadline:  # the container itself has not ended
                self._declare(ContainerState("running"), f"is out of reach: {reason}")
                return
            self._let_go.wait(_END_POLL)

    def wait_for_cause(self) -> bool:
        """Give the end a moment to show, where it may be the cause of what just failed."""
        return self.wait(_END_GRACE)

    def _declare(self, state: ContainerState, reason: str) -> None:
        self._death_message = f"Container {self._describe()} {reason}."
        self._death = state
        self._over.set()
