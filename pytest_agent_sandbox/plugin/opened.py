"""What a test has opened, to be closed with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from pytest_agent_sandbox.errors import SandboxError


class Closable(Protocol):
    """What can be closed."""

    def close(self) -> None:
        """Close it."""


Thing = TypeVar("Thing", bound=Closable)


class OpenResources(Generic[Thing]):
    """Things of one kind that a test has opened.

    What is opened in a thread (`await factory.astart()`) may be there only when the test is over
    and has closed all that it knew of: it is closed at once.

    Args:
        kind: What they are, for people: `sandbox`.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._things: list[Thing] = []
        self._lock = threading.Lock()
        self._is_over = False

    def add(self, thing: Thing) -> None:
        """Keep one that was opened just now.

        Raises:
            SandboxError: The test is over. The resource was closed.
        """
        with self._lock:
            is_over = self._is_over
            if not is_over:
                self._things.append(thing)
        if is_over:
            with suppress(SandboxError):
                thing.close()
            raise SandboxError(f"The test that asked for this {self._kind} is over.")

    def end(self) -> list[Thing]:
        """Return all of them, for the caller to close. From now on none is kept."""
        with self._lock:
            self._is_over = True
            return list(self._things)

    def __iter__(self) -> Iterator[Thing]:
        with self._lock:
            return iter(list(self._things))
