"""A program in a container whose stream is taken up again where it breaks off."""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host import (
    link_inside,
    multiplexer,
    resumed_inside,
    resumption,
    tunnel_inside,
)
from pytest_agent_sandbox.host.multiplexer import Inside
from pytest_agent_sandbox.host.program import Program, RunningContainer
from pytest_agent_sandbox.host.resumption import FRAME, MOST_KEPT, Resumption, ResumptionError

# Seconds for which the stream is tried to be taken up again, and between two attempts.
_GRACE, _PAUSE = 30.0, 0.5
# Seconds for the other end to answer on a new connection.
_PATIENCE = 10.0


class ResumedProgram(Program):
    """The inner end of a tunnel, which stays while streams to it come and go.

    Args:
        container: The container.
        places: The arguments of `resumed_inside.main`, but for its address.
        is_isolated: As above.
        patience: Seconds that the container may take to begin.

    Raises:
        SandboxError: It cannot be started, or was gone at once.
    """

    def __init__(
        self,
        container: RunningContainer,
        places: Sequence[Inside],
        is_isolated: bool,
        patience: float,
    ) -> None:
        super().__init__("tunnel", patience)
        self._container = container
        self._address = f"pytest-agent-sandbox-{secrets.token_hex(16)}"
        self._state = Resumption()
        self._pieces: deque[bytes] = deque()
        self._link: Program | None = None
        self._links = 0
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        #: For who waits to send; its lock is that of the state too.
        self._changed = threading.Condition()
        modules = [multiplexer, resumption, tunnel_inside, resumed_inside]
        arguments = [list(places), is_isolated, self._address]
        starting = container.start_program("tunnel", modules, arguments, patience=patience)
        try:
            self._line = starting.read_line(patience)
        except OSError as error:
            self._complaint = starting.why_gone(error)
            raise SandboxError(
                f"The way into the container was not made: {self._complaint}"
            ) from error
        finally:
            starting.close()

    def begin_stream(self) -> None:
        """Make the first connection; call it once the first line was read.

        Raises:
            OSError: It cannot be made.
        """
        self._renew(self._links)

    def send(self, data: bytes) -> None:
        """Send bytes; they arrive, unless nobody can take the stream up again."""
        with self._changed:
            while self._state.kept > MOST_KEPT and not self._closing.is_set():
                self._changed.wait(_PAUSE)
            number, link = self._links, self._link
            frames = self._state.pack(data)
            if link is None or self._closing.is_set():
                raise ConnectionAbortedError("it was closed")
        try:
            with self._sending:
                link.send(frames)
        except OSError:
            self._renew(number)

    def receive(self, timeout: float | None) -> tuple[bool, bytes]:
        """Return the next bytes that have come."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._pieces:
            number, link = self._links, self._link
            if link is None or self._closing.is_set():
                raise ConnectionAbortedError("it was closed")
            try:
                left = None if deadline is None else max(0.01, deadline - time.monotonic())
                is_complaint, data = link.receive(left)
            except TimeoutError:
                raise
            except OSError:
                self._renew(number)
                continue
            if not is_complaint:
                self._take(link, data)
        return False, self._pieces.popleft()

    def exit_code(self) -> int | None:
        """Return nothing: it has no end that is told."""
        return None

    def close(self) -> None:
        """End it, and whoever reads or sends."""
        self._closing.set()
        link = self._link
        if link is not None:
            link.close()
        with self._changed:
            self._changed.notify_all()

    def _take(self, link: Program, data: bytes) -> None:
        with self._changed:
            try:
                new, answer = self._state.feed(data)
            except ResumptionError as error:
                raise ConnectionAbortedError(str(error)) from error
            self._pieces += new
            self._changed.notify_all()
        if answer:
            with suppress(OSError), self._sending:  # who reads next notices
                link.send(answer)

    def _renew(self, number: int) -> None:
        """Take the stream up again, unless somebody else has.

        Args:
            number: Which connection has broken off.

        Raises:
            OSError: Nobody can.
        """
        until = time.monotonic() + _GRACE
        with self._lock:
            while self._links == number:
                if self._closing.is_set():
                    raise ConnectionAbortedError("it was closed")
                try:
                    self._container.check()
                    self._connect()
                except (OSError, SandboxError) as error:
                    if time.monotonic() > until or self._container.wait_for_end(0):
                        raise ConnectionAbortedError(
                            f"its stream cannot be taken up again: {error}"
                        ) from error
                    self._closing.wait(_PAUSE)

    def _connect(self) -> None:
        link = self._container.start_program(
            "link", [link_inside], [self._address, _PATIENCE], patience=_PATIENCE
        )
        try:
            link.read_line(_PATIENCE)
            link.wait_forever()
            with self._changed:
                hello = self._state.hello()
            link.send(hello)
            came = b""
            deadline = time.monotonic() + _PATIENCE
            while len(came) < FRAME.size:
                came += link.read(deadline)
            with self._changed:
                again = self._state.again(came[: FRAME.size])
                new, _ = self._state.feed(came[FRAME.size :])
                self._pieces += new
                old, self._link = self._link, link
                # Nothing else may be sent before what was lost.
                link.send(again)
                self._links += 1
                self._changed.notify_all()
        except BaseException as error:
            link.close()
            if isinstance(error, ResumptionError):
                raise ConnectionAbortedError(str(error)) from error
            raise
        if old is not None:
            old.close()
