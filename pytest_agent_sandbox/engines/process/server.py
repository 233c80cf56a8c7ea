"""A server as a process of this machine, and its end."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pytest_agent_sandbox.engines.process import supervisor
from pytest_agent_sandbox.errors import SandboxDied, SettingsError
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.host.log_file import LogFile
from pytest_agent_sandbox.host.piped_process import PipedProcess
from pytest_agent_sandbox.sandbox.network import LOOPBACK

_TAIL_LINES = 30
_PIECE = 64 * 1024
# Seconds for the server and all that it has started to end, and for its last output.
_PATIENCE = 15.0
_OUTPUT_PATIENCE = 2.0


class ServerProcess(Closing):
    """Runs a server and keeps its output; a context manager.

    All that the server has started ends with it, also where this process is killed.

    Args:
        command: The server's command line.
        environment: Its whole environment; it gets a mark besides.
        folder: Where it runs.
        mark: Tells its processes from those of others.
        log_path: File for its output.
        clean_log: Given each line of it before it is written, as to mask secrets.
        scratch: Folders to remove where this process is killed.

    Raises:
        SettingsError: psutil is not installed.
        OSError: The process cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        mark: str,
        log_path: Path,
        clean_log: Callable[[str], str] | None = None,
        scratch: Sequence[Path] = (),
    ) -> None:
        if importlib.util.find_spec("psutil") is None:
            raise SettingsError(
                "Servers as processes need psutil: pip install 'pytest-agent-sandbox[process]'"
            )
        self._is_closed = False
        self._log = LogFile(log_path, clean_log)
        self._piped = PipedProcess(["-I", supervisor.__file__], stdout=subprocess.PIPE)
        self._reader = threading.Thread(target=self._read, name="server-output", daemon=True)
        self._reader.start()
        wanted = {
            "command": list(command),
            "environment": {**environment, supervisor.MARK: mark},
            "folder": str(folder),
            "scratch": [str(path) for path in scratch],
            "path": [str(Path(entry).absolute()) for entry in sys.path],
        }
        self._piped.tell(json.dumps(wanted))

    def check(self) -> None:
        """Raise if the server has ended.

        Raises:
            SandboxDied: It has.
        """
        code = self._piped.process.poll()
        if code is None:
            return
        self._reader.join(_OUTPUT_PATIENCE)
        self._log.flush()
        raise SandboxDied(
            f"The agent server's process has ended with exit code {code}.",
            exit_code=code,
            log=self.log_tail(),
        )

    def log_tail(self, lines: int = _TAIL_LINES) -> str:
        """Return the last lines of its output."""
        return self._log.tail(lines)

    def close(self) -> None:
        """End the server and all that it has started. May be called more than once."""
        if self._is_closed:
            return
        self._is_closed = True
        self._piped.end("end", patience=_PATIENCE)
        self._reader.join(_OUTPUT_PATIENCE)
        output = self._piped.process.stdout
        if output is not None and not self._reader.is_alive():
            output.close()
        self._log.flush()
        self._log.close()

    def _read(self) -> None:
        output = self._piped.process.stdout
        assert output is not None
        with suppress(OSError, ValueError):
            while piece := output.read1(_PIECE):  # type: ignore[attr-defined]
                self._log.write(piece)


def free_port() -> int:
    """Return a port that is free now: somebody may take it before a server does."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
