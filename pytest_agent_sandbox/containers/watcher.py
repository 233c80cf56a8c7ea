"""A small process that removes what this one leaves behind, should it be killed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from pytest_agent_sandbox.containers import watching

# Seconds the watcher gets to end once it is told to.
_PATIENCE = 5.0


class Watcher:
    """Watches over this process by holding a pipe to it.

    When the pipe breaks without a word, as on SIGKILL, the watcher removes the owner's containers
    and networks, and the files it was told of, and ends. A signal to this process's group or
    terminal does not reach it.

    Args:
        owner: Whose containers (see `Owner.id`).
        files: Files and folders to remove too.

    Raises:
        OSError: The process cannot be started.
    """

    def __init__(self, owner: str, files: Iterable[Path] = ()) -> None:
        self._lock = threading.Lock()
        own_session: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
            own_session = {"creationflags": flags}
        # Isolated, and without site: it is there in 15 ms and small; what it needs for the
        # clean-up, it loads then. Of its own accord it keeps no pipe or folder of ours open.
        self._process = subprocess.Popen(  # noqa: S603 - our own file
            [sys.executable, "-I", "-S", watching.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=Path(sys.executable).parent,
            **own_session,
        )
        # It runs in another folder.
        self._tell({"owner": owner, "path": [str(Path(entry).absolute()) for entry in sys.path]})
        for file in files:
            self.add_file(file)

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    def add_file(self, file: Path) -> None:
        """Have one more file or folder removed."""
        self._tell({"file": str(file)})

    def close(self) -> None:
        """Let it end; nothing is removed. May be called more than once."""
        self._tell({"done": True})
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tell(self, message: dict[str, Any]) -> None:
        line = f"{json.dumps(message)}\n".encode()
        # It may have been killed: then a later run cleans up (see `cleanup.remove_left_behind`).
        with self._lock, suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.write(line)
                self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
