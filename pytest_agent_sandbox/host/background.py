"""Work that nobody waits for until the end, such as removing containers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.host.closing import Closing

logger = seldom.logger(__name__)
# Engines do such work side by side; more at once only take the CPU from the tests.
_THREADS = 2


class Background(Closing):
    """Threads that do what they are given; what is still to be done is done by `close`.

    Each piece of work has to bound itself, as all calls to a `ContainerEngine` do.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="agent-sandbox-background")
        self._lock = threading.Lock()
        self._errors: list[SandboxError] = []

    def do(self, work: Callable[[], object]) -> None:
        """Have something done soon. A `SandboxError` of it is raised by `close`."""
        self._executor.submit(work).add_done_callback(self._note)

    def _note(self, done: Future[object]) -> None:
        error = done.exception()
        if isinstance(error, SandboxError):
            with self._lock:
                self._errors.append(error)
        elif error is not None:
            logger.error("an error in the background", exc_info=error)

    def close(self) -> None:
        """Wait until all is done.

        Raises:
            SandboxError: The first one that happened.
        """
        self._executor.shutdown()
        if self._errors:
            raise self._errors[0]
