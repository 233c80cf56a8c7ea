"""A helper process of ours that holds a pipe to this one, and so notices when it is gone."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any


class PipedProcess:
    """A program in a session of its own: signals to this process's group do not reach it.

    Args:
        arguments: What follows the interpreter.
        stdout: Where its output goes, as `subprocess.Popen` takes it.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, arguments: Sequence[str], *, stdout: int) -> None:
        self._lock = threading.Lock()
        own_session: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
            own_session = {"creationflags": flags}
        # It keeps no pipe or folder of ours open.
        self.process = subprocess.Popen(  # noqa: S603 - our own file
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            cwd=Path(sys.executable).parent,
            **own_session,
        )

    def tell(self, line: str) -> None:
        """Give it a line, if it is still there to read it."""
        with self._lock, suppress(OSError, ValueError):
            if self.process.stdin is not None:
                self.process.stdin.write(f"{line}\n".encode())
                self.process.stdin.flush()

    def end(self, last_line: str, *, patience: float) -> None:
        """Give it a last line, and wait for its end. May be called more than once.

        Args:
            last_line: What tells it to end.
            patience: Seconds that it gets before it is killed.
        """
        self.tell(last_line)
        with suppress(OSError):
            if self.process.stdin is not None:
                self.process.stdin.close()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
