"""A watch for the end of a server that an API runs, for those who wait for the server."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from pytest_agent_sandbox.engines.hosted.api import Hosting, State
from pytest_agent_sandbox.errors import SandboxDied, SandboxPaused, ServerError

# Seconds from one question to the next, and for an answer.
_INTERVAL = 5.0
_TIMEOUT = 5.0


class Watch:
    """Asks the API now and then, in threads of its own: nobody waits for the answers.

    Args:
        hosting: The server.
    """

    def __init__(self, hosting: Hosting) -> None:
        self._hosting = hosting
        self._lock = threading.Lock()
        self._asked = time.monotonic()
        self._thread: threading.Thread | None = None
        self._state: State | None = None

    def check(self) -> None:
        """Raise where the API has said that the server is no more, or is paused.

        Raises:
            SandboxDied: It is no more.
            SandboxPaused: It is paused.
        """
        state = self._state
        if state is not None and state.phase == "paused":
            raise SandboxPaused(
                f"{self._hosting.name} was paused ({state.words}). `resume()` of its workspace "
                "lets it go on."
            )
        if state is not None and state.phase in ("failed", "gone"):
            raise SandboxDied(f"{self._hosting.name} has ended: {state.words}.", log=state.log)
        self._ask()

    def close(self) -> None:
        """Wait for the question that is under way."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_TIMEOUT + 1)

    def _ask(self) -> None:
        with self._lock:
            now = time.monotonic()
            if now - self._asked < _INTERVAL:
                return
            self._asked = now
            self.close()
            self._thread = threading.Thread(target=self._look, name="hosted-state", daemon=True)
            self._thread.start()

    def _look(self) -> None:
        with suppress(ServerError):  # an API that is away for a moment proves nothing
            self._state = self._hosting.state(_TIMEOUT)
