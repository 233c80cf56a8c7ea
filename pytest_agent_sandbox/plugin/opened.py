"""Resources that a test has opened, to be closed with it."""

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


Resource = TypeVar("Resource", bound=Closable)


class OpenResources(Generic[Resource]):
    """Resources of one kind that a test has opened.

    What is opened in a thread (`await factory.astart()`) may be there only when the test is over
    and has closed all that it knew of: it is closed at once.

    Args:
        kind: What they are, for people: `sandbox`.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._resources: list[Resource] = []
        self._lock = threading.Lock()
        self._is_over = False

    def add(self, resource: Resource) -> None:
        """Keep one that was opened just now.

        Raises:
            SandboxError: The test is over. The resource was closed.
        """
        with self._lock:
            is_over = self._is_over
            if not is_over:
                self._resources.append(resource)
        if is_over:
            with suppress(SandboxError):
                resource.close()
            raise SandboxError(f"The test that asked for this {self._kind} is over.")

    def end(self) -> list[Resource]:
        """Return all of them, for the caller to close. From now on none is kept."""
        with self._lock:
            self._is_over = True
            return list(self._resources)

    def __iter__(self) -> Iterator[Resource]:
        with self._lock:
            return iter(list(self._resources))
