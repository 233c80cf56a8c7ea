"""Python programs that this process brings into a container, and talks to while they run."""

from __future__ import annotations

import json
import math
import time
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Protocol

from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host.closing import Closing

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


def command_line(title: str) -> list[str]:
    """Return what starts a program in a container, by whatever Python >= 3.8 there is."""
    return ["/bin/sh", "-c", _START, title]


class Program(Closing):
    """A program in a container; it ends with the container.

    Whatever brings it there derives from this, and calls `begin` when it is ready to send.

    Args:
        title: What it is called, in the container's list of processes too.
        patience: Seconds that the container may take to read what it is sent.
    """

    def __init__(self, title: str, patience: float) -> None:
        self.title = title
        self._patience: float | None = patience
        self._line = b""
        self._complaint = ""

    def begin(self, place: str, modules: Sequence[ModuleType], arguments: Sequence[object]) -> None:
        """Send it what it runs.

        Args:
            place: The container, in words.
            modules: Modules whose texts make up the program, in order; the last has a `main`.
            arguments: Those of `main`, as JSON can have them.

        Raises:
            SandboxError: It was gone at once.
        """
        texts = [Path(str(module.__file__)).read_text("utf-8") for module in modules]
        try:
            self.send(json.dumps({"texts": texts, "arguments": arguments}).encode() + b"\n")
        except OSError as error:
            reason = self.why_gone(error)
            self.close()
            raise SandboxError(f"The {self.title} did not start in {place}: {reason}") from error

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Send bytes to its standard input.

        Raises:
            OSError: It is gone, or does not read.
        """

    @abstractmethod
    def receive(self, timeout: float | None) -> tuple[bool, bytes]:
        """Return the next bytes that it prints, and whether they are of its standard error.

        Args:
            timeout: Seconds to wait; None for as long as it runs.

        Raises:
            TimeoutError: It prints nothing.
            OSError: It is gone.
        """

    @abstractmethod
    def exit_code(self) -> int | None:
        """Return how it ended, which may be known a little later than that it did."""

    def wait_forever(self) -> None:
        """Have `read` and `send` wait for as long as the program runs."""
        self._patience = None

    def read(self, deadline: float = math.inf) -> bytes:
        """Return the next bytes of its standard output.

        Args:
            deadline: When to give up, by the monotonic clock.

        Raises:
            OSError: It is gone, or prints nothing.
        """
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("it does not answer")
            waits = [seconds for seconds in (left, self._patience) if seconds is not None]
            timeout = min(waits)
            is_complaint, data = self.receive(None if math.isinf(timeout) else timeout)
            if not is_complaint:
                return data
            self._complaint = data.decode(errors="replace").strip()[-_SHOWN:]

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
            try:
                self._line += self.read(deadline)
            except TimeoutError:
                return None
            if len(self._line) > _LONGEST_LINE:
                raise ConnectionError("it answers without end")
        line, self._line = self._line, b""
        return line

    def why_gone(self, error: object) -> str:
        """Say why it does not run any more, where `error` is all that is known otherwise."""
        if self._complaint:
            return self._complaint
        return "there is no Python in it" if self.exit_code() == _NO_PYTHON else str(error)


class RunningContainer(Protocol):
    """A container in which a sandbox's programs run, whatever runs it."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def image(self) -> str:
        """The name of its image."""
        ...

    def start_program(
        self,
        title: str,
        modules: Sequence[ModuleType],
        arguments: Sequence[object] = (),
        *,
        patience: float,
        user: str = "0",
    ) -> Program:
        """Start a program in it.

        Args:
            title: What it is called, in the container's list of processes too.
            modules: Modules whose texts make up the program, in order; the last has a `main`.
            arguments: Those of `main`, as JSON can have them.
            patience: Seconds that the container may take to read what the program is sent.
            user: Whose it is; root's by default, with the capabilities that the container has.

        Raises:
            SandboxError: It cannot be started, or was gone at once.
        """
        ...

    def check(self) -> None:
        """Raise `SandboxDied` if it is gone; ask nobody for that."""

    def wait_for_end(self, timeout: float) -> bool:
        """Sleep until it is over or the seconds are; tell whether it is over."""
        ...

    def log_tail(self, lines: int = 50) -> str:
        """Return the last lines that it printed."""
        ...
