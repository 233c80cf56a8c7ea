"""The watcher's process: it waits for the end of another one, and cleans up after it.

It runs as a program of its own, isolated, and so far with the standard library only.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# Seconds between two looks at the parent: a child of it may hold a copy of the pipe open.
_LOOK = 1.0
# Seconds for which an engine that does not answer is asked again.
_PATIENCE = 30.0
# Seconds for which the engine may still be creating what the dead process asked for.
_LATE = 1.0
_PAUSE = 0.5


def main() -> None:
    """Wait, then clean up unless told that all is done."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # it ends with the pipe, not by a signal
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    owner, engine, files = "", None, []
    for line in _lines(sys.stdin.fileno()):
        message = json.loads(line)
        if "done" in message:
            return
        if "owner" in message:
            owner, engine = message["owner"], message["engine"]
            sys.path = message["path"]
        else:
            files.append(Path(message["file"]))
    if owner:
        clean_up(owner, files, engine)


def _lines(pipe: int) -> Iterator[bytes]:
    """Yield the lines from the parent, until the pipe breaks or the parent is gone."""
    parent = os.getppid()
    rest = b""
    while True:
        # On Windows only sockets can be waited for, and a child has no copy of the pipe.
        if sys.platform != "win32" and not select.select([pipe], [], [], _LOOK)[0]:
            if os.getppid() != parent:
                return
            continue
        read = os.read(pipe, 65536)
        if not read:
            return
        *lines, rest = (rest + read).split(b"\n")
        yield from lines


def clean_up(owner: str, files: list[Path], engine: Mapping[str, Any] | None) -> None:
    """Remove the containers, networks and files that a dead process has left.

    Args:
        owner: Whose.
        files: The files and folders.
        engine: The way to its engine (see `Endpoint.as_json`): the docker context may be another
            by now. None for the one that is found.
    """
    for file in files:
        if file.is_dir():
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink(missing_ok=True)
    from pytest_agent_sandbox.containers.cleanup import remove_labelled
    from pytest_agent_sandbox.containers.endpoints import Endpoint
    from pytest_agent_sandbox.containers.engine import ContainerEngine
    from pytest_agent_sandbox.errors import SandboxError
    from pytest_agent_sandbox.host.ownership import OWNER, forget

    way = None if engine is None else Endpoint.of_json(engine)
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            with ContainerEngine.connect(way) as found:
                remove_labelled(found, {OWNER: owner})
                time.sleep(_LATE)
                remove_labelled(found, {OWNER: owner})
        except SandboxError:
            if time.monotonic() > deadline:
                return  # its lock's file stays: a later run cleans up
            time.sleep(_PAUSE)
        else:
            forget(owner)
            return


if __name__ == "__main__":
    main()
