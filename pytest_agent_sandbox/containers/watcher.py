"""A small process that removes what this one leaves behind, should it be killed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_agent_sandbox.containers import watcher_process
from pytest_agent_sandbox.containers.endpoints import Endpoint
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.host.piped_process import PipedProcess

# Seconds the watcher gets to end once it is told to.
_PATIENCE = 5.0


class Watcher(Closing):
    """A process that watches over this one by holding a pipe to it.

    When the pipe breaks without a word, as on SIGKILL, the watcher removes the owner's containers
    and networks, and the files it was told of, and ends. A signal to this process's group or
    terminal does not reach it.

    Args:
        owner: Whose containers (see `Owner.id`).
        way: The engine's; None for the one that is found.
        files: Files and folders to remove too.

    Raises:
        OSError: The process cannot be started.
    """

    def __init__(
        self, owner: str, files: Iterable[Path] = (), *, way: Endpoint | None = None
    ) -> None:
        # Isolated and without site, it is small and up in 15 ms; what the clean-up needs is loaded
        # only then.
        self._piped = PipedProcess(
            ["-I", "-S", watcher_process.__file__], stdout=subprocess.DEVNULL
        )
        # It runs in another folder.
        path = [str(Path(entry).absolute()) for entry in sys.path]
        engine = None if way is None else way.as_json()
        self._tell({"owner": owner, "path": path, "engine": engine})
        for file in files:
            self.add_file(file)

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._piped.process.pid

    def add_file(self, file: Path) -> None:
        """Have one more file or folder removed."""
        self._tell({"file": str(file)})

    def close(self) -> None:
        """Let it end; nothing is removed. May be called more than once."""
        self._piped.end(json.dumps({"done": True}), patience=_PATIENCE)

    def _tell(self, message: dict[str, Any]) -> None:
        # It may have been killed: then a later run cleans up (see `cleanup.remove_left_behind`).
        self._piped.tell(json.dumps(message))
