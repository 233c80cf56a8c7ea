"""A Python program that this process brings into a container, and talks to while it runs."""

from __future__ import annotations

import json
import math
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import SandboxError

_FRAME_HEADER = struct.Struct(">BxxxL")
_STANDARD_ERROR = 2
# Seconds for the engine to know that a process has ended.
_END_GRACE = 1.0
_POLL = 0.02
# Characters of what the program complained of that an error quotes.
_SHOWN = 500
# The program comes as the first line, so that it is not what `ps` shows in the container. Nobody
# there can look into it, nor change it (prctl(2), PR_SET_DUMPABLE).
_START = """
for python in python3 /agent-server/.venv/bin/python python; do
    if command -v "$python" >/dev/null; then
        exec "$python" -I -c '
import json, sys
try:
    import ctypes
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
except (ImportError, OSError, AttributeError):
    pass
sent = json.loads(sys.stdin.readline())
for text in sent["texts"]:
    exec(text)
main(*sent["arguments"])' "$0"
    fi
done
exit 127
"""
_NO_PYTHON = 127
# The most bytes of an answer that is a line.
_LONGEST_LINE = 16 * 1024 * 1024


class Program:
    """A program in a container, run by whatever Python >= 3.8 there is; it ends with the container.

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
        self._engine = engine
        self._title = title
        api = engine.client.api
        with engine.calling(f"start the {title} in container {container}"):
            self._id = api.exec_create(
                container,
                ["/bin/sh", "-c", _START, title],
                stdin=True,
                user=user,
                workdir="/",
            )["Id"]
            self._stream = api.exec_start(self._id, socket=True)
        # The SDK returns a file around a socket; on Windows, something that behaves like a socket.
        self._socket: Any = getattr(self._stream, "_sock", self._stream)
        self._socket.settimeout(patience)
        self._patience: float | None = patience
        self._rest = b""
        self._line = b""
        self._complaint = ""
        texts = [Path(str(module.__file__)).read_text("utf-8") for module in modules]
        try:
            self.send(json.dumps({"texts": texts, "arguments": arguments}).encode() + b"\n")
        except OSError as error:
            reason = self.why_gone(error)
            self.close()
            raise SandboxError(f"The {title} did not start in {container}: {reason}") from error

    def send(self, data: bytes) -> None:
        """Send bytes to its standard input.

        Raises:
            OSError: It is gone, or does not read.
        """
        with _lost_as_oserror():
            self._socket.sendall(data)

    def wait_forever(self) -> None:
        """Have `read` and `send` wait for as long as the program runs."""
        self._patience = None
        self._socket.settimeout(None)

    def read(self, deadline: float = math.inf) -> bytes:
        """Return the next bytes of its standard output.

        Args:
            deadline: When to give up what only complains, by the monotonic clock.

        Raises:
            OSError: It is gone, or prints nothing.
        """
        while True:
            if time.monotonic() > deadline:
                raise TimeoutError("it does not answer")
            stream, size = _FRAME_HEADER.unpack(self._read(_FRAME_HEADER.size))
            payload = self._read(size)
            if stream != _STANDARD_ERROR:
                return payload
            self._complaint = payload.decode(errors="replace").strip()[-_SHOWN:]

    def read_line(self, timeout: float) -> bytes:
        """Return the next line of its standard output.

        Args:
            timeout: Seconds.

        Raises:
            OSError: It is gone, or does not print one.
        """
        line = self.poll_line(timeout)
        if line is None:
            raise TimeoutError("it does not answer")
        return line

    def poll_line(self, timeout: float) -> bytes | None:
        """Return the next line of its standard output; None where it is still to come.

        Args:
            timeout: Seconds to wait for it.

        Raises:
            OSError: It is gone.
        """
        deadline = time.monotonic() + timeout
        while not self._line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._socket.settimeout(left)
            try:
                self._line += self.read(deadline)
            except TimeoutError:
                return None
            finally:
                self._socket.settimeout(self._patience)
            if len(self._line) > _LONGEST_LINE:
                raise ConnectionError("it answers without end")
        line, self._line = self._line, b""
        return line

    def why_gone(self, error: object) -> str:
        """Say why it does not run any more, where `error` is all that is known otherwise."""
        if self._complaint:
            return self._complaint
        return "there is no Python in it" if self._exit_code() == _NO_PYTHON else str(error)

    def close(self) -> None:
        """End it, and whoever reads or sends."""
        with suppress(OSError, AttributeError):  # gone already; Windows' pipes have no such call
            self._socket.shutdown(socket.SHUT_RDWR)
        # The SDK keeps the open response there.
        ends: list[Any] = [getattr(self._stream, "_response", None), self._stream, self._socket]
        for end in ends:
            with suppress(OSError, AttributeError):
                end.close()

    def _exit_code(self) -> int | None:
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

    def _read(self, size: int) -> bytes:
        while len(self._rest) < size:
            with _lost_as_oserror():
                chunk = self._socket.recv(65536)
            if not chunk:
                raise ConnectionError("it has ended")
            self._rest += chunk
        found, self._rest = self._rest[:size], self._rest[size:]
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
