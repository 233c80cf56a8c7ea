"""A program in a container that Docker runs."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host.program import Program, command_line

_FRAME_HEADER = struct.Struct(">BxxxL")
_STANDARD_ERROR = 2
# Seconds for the engine to know that a process has ended.
_END_GRACE = 1.0
_POLL = 0.02


class ContainerProgram(Program):
    """A program that talks over the engine's connection.

    Args:
        engine: The container's engine.
        container: The container's id.
        title: What it is called, in the container's list of processes too.
        modules: Modules whose texts make up the program, in order; the last has a `main`.
        arguments: Those of `main`, as JSON can have them.
        patience: Seconds that the container may take to read what it is sent.
        user: Whose it is; root's by default, with the capabilities that the container has.

    Raises:
        SandboxError: The engine refused, or does not answer, or the program was gone at once.
    """

    def __init__(
        self,
        engine: ContainerEngine,
        container: str,
        title: str,
        modules: Sequence[ModuleType],
        arguments: Sequence[object] = (),
        *,
        patience: float,
        user: str = "0",
    ) -> None:
        super().__init__(title, patience)
        self._engine = engine
        api = engine.client.api
        with engine.calling(f"start the {title} in container {container}"):
            self._id = api.exec_create(
                container, command_line(title), stdin=True, user=user, workdir="/"
            )["Id"]
            self._stream = api.exec_start(self._id, socket=True)
        # The SDK returns a file around a socket; on Windows, something that behaves like a socket.
        self._socket: Any = getattr(self._stream, "_sock", self._stream)
        self._socket.settimeout(patience)
        self._rest = b""
        self.begin(container, modules, arguments)

    def send(self, data: bytes) -> None:
        """Send bytes to its standard input."""
        with _lost_as_oserror():
            self._socket.sendall(data)

    def wait_forever(self) -> None:
        """Have `read` and `send` wait for as long as the program runs."""
        super().wait_forever()
        self._socket.settimeout(None)

    def receive(self, timeout: float | None) -> tuple[bool, bytes]:
        """Return the next bytes that it prints, and whether they are of its standard error."""
        if timeout == self._patience:
            return self._frame()
        self._socket.settimeout(timeout)
        try:
            return self._frame()
        finally:
            self._socket.settimeout(self._patience)

    def close(self) -> None:
        """End it, and whoever reads or sends."""
        with suppress(OSError, AttributeError):  # gone already; Windows' pipes have no such call
            self._socket.shutdown(socket.SHUT_RDWR)
        # The SDK keeps the open response there.
        ends: list[Any] = [getattr(self._stream, "_response", None), self._stream, self._socket]
        for end in ends:
            with suppress(OSError, AttributeError):
                end.close()

    def exit_code(self) -> int | None:
        """Return how it ended, which the engine knows a little later than that it did."""
        deadline = time.monotonic() + _END_GRACE
        while True:
            try:
                with self._engine.calling(f"look after the {self.title}"):
                    found = self._engine.client.api.exec_inspect(self._id)
            except SandboxError:
                return None
            if not found["Running"] or time.monotonic() > deadline:
                return None if found["ExitCode"] is None else int(found["ExitCode"])
            time.sleep(_POLL)

    def _frame(self) -> tuple[bool, bytes]:
        stream, size = _FRAME_HEADER.unpack(self._read(_FRAME_HEADER.size, keep=True))
        self._read(_FRAME_HEADER.size + size, keep=True)
        frame = self._read(_FRAME_HEADER.size + size)
        return stream == _STANDARD_ERROR, frame[_FRAME_HEADER.size :]

    def _read(self, size: int, *, keep: bool = False) -> bytes:
        while len(self._rest) < size:
            with _lost_as_oserror():
                chunk = self._socket.recv(65536)
            if not chunk:
                raise ConnectionError("it has ended")
            self._rest += chunk
        found = self._rest[:size]
        if not keep:
            self._rest = self._rest[size:]
        return found


@contextmanager
def _lost_as_oserror() -> Iterator[None]:
    """Raise an OSError for the errors that only pipes of Windows have."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise ConnectionError(str(error)) from error
