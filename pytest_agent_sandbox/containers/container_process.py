"""A process in a container that Docker runs, at the other end of the engine's connection."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host.closing import Closing

_FRAME_HEADER = struct.Struct(">BxxxL")
_STANDARD_ERROR = 2
# Seconds for the engine to know that a process has ended.
_END_GRACE = 1.0
_POLL = 0.02
#: Bytes kept of each stream of a command.
OUTPUT_LIMIT = 16 * 1024 * 1024


class ContainerProcess(Closing):
    """A process that was started in a container; it ends with the container at the latest.

    Args:
        engine: The container's engine.
        container: The container's id.
        title: What messages call it.
        words: Its command line. No secrets: engines log and show it.
        takes_input: Whether it gets a standard input.
        user: Whose it is; None for the user of the container.
        folder: Where it runs; None for the container's own.
        environment: Variables of its own.

    Raises:
        SandboxError: The engine refused, or does not answer.
    """

    def __init__(
        self,
        engine: ContainerEngine,
        container: str,
        title: str,
        words: Sequence[str],
        *,
        takes_input: bool = False,
        user: str | None = None,
        folder: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._title = title
        self._engine = engine
        api = engine.client.api
        with engine.calling(f"start the {title} in container {container}"):
            self._id = api.exec_create(
                container,
                list(words),
                stdin=takes_input,
                user=user or "",
                workdir=folder,
                environment=dict(environment or {}),
            )["Id"]
            self._stream = api.exec_start(self._id, socket=True)
        # The SDK returns a file around a socket; on Windows, something that behaves like a socket.
        self._socket: Any = getattr(self._stream, "_sock", self._stream)
        self._rest = b""

    def set_timeout(self, seconds: float | None) -> None:
        """Set how long `send` and `receive` wait; None for as long as the process runs."""
        self._socket.settimeout(seconds)

    def send(self, data: bytes) -> None:
        """Send bytes to its standard input.

        Raises:
            OSError: It is gone, or does not read.
        """
        with _lost_as_oserror():
            self._socket.sendall(data)

    def receive(self) -> tuple[bool, bytes]:
        """Return the next bytes that it prints, and whether they are of its standard error.

        Raises:
            TimeoutError: It prints nothing.
            OSError: It is gone.
        """
        stream, size = _FRAME_HEADER.unpack(self._read(_FRAME_HEADER.size, keep=True))
        self._read(_FRAME_HEADER.size + size, keep=True)
        frame = self._read(_FRAME_HEADER.size + size)
        return stream == _STANDARD_ERROR, frame[_FRAME_HEADER.size :]

    def exit_code(self) -> int | None:
        """Return how it ended, which the engine knows a little later than that it did."""
        deadline = time.monotonic() + _END_GRACE
        while True:
            try:
                with self._engine.calling(f"look after the {self._title}"):
                    found = self._engine.client.api.exec_inspect(self._id)
            except SandboxError:
                return None
            if not found["Running"] or time.monotonic() > deadline:
                return None if found["ExitCode"] is None else int(found["ExitCode"])
            time.sleep(_POLL)

    def close(self) -> None:
        """Let go of it, and of whoever reads or sends."""
        with suppress(OSError, AttributeError):  # gone already; Windows' pipes have no such call
            self._socket.shutdown(socket.SHUT_RDWR)
        # The SDK keeps the open response there.
        ends: list[Any] = [getattr(self._stream, "_response", None), self._stream, self._socket]
        for end in ends:
            with suppress(OSError, AttributeError):
                end.close()

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


@dataclass(frozen=True)
class Ran:
    """How a command in a container went.

    Attributes:
        exit_code: Its exit code; None where it has not ended in its time.
        stdout: Its output.
        stderr: Its error output.
        is_cut: Whether more was printed than is kept; the rest is lost.
        duration: Seconds that it took.
    """

    exit_code: int | None
    stdout: str
    stderr: str
    is_cut: bool
    duration: float


def run_in_container(
    engine: ContainerEngine,
    container: str,
    words: Sequence[str],
    *,
    timeout: float,
    user: str | None = None,
    folder: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Ran:
    """Run a command in a container, and wait for it to end.

    Docker has no call that ends such a process: one that does not end in its time goes on.

    Args:
        engine: The container's engine.
        container: The container's id.
        words: Its command line. No secrets: engines log and show it.
        timeout: Seconds to wait.
        user: Whose it is; None for the user of the container.
        folder: Where it runs; None for the container's own.
        environment: Variables of its own.

    Raises:
        SandboxError: The engine refused, or does not answer.
    """
    began = time.monotonic()
    streams = (bytearray(), bytearray())
    is_cut = is_late = False
    with ContainerProcess(
        engine, container, words[0], words, user=user, folder=folder, environment=environment
    ) as process:
        while True:
            left = began + timeout - time.monotonic()
            try:
                process.set_timeout(max(left, 0.001))
                is_error, data = process.receive()
            except TimeoutError:
                is_late = True
                break
            except OSError:
                break
            kept = streams[is_error]
            room = OUTPUT_LIMIT - len(kept)
            is_cut = is_cut or len(data) > room
            kept += data[:room]
        exit_code = None if is_late else process.exit_code()
    out, err = (stream.decode("utf-8", "replace") for stream in streams)
    return Ran(exit_code, out, err, is_cut, time.monotonic() - began)


@contextmanager
def _lost_as_oserror() -> Iterator[None]:
    """Raise an OSError for the errors that only pipes of Windows have."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise ConnectionError(str(error)) from error
