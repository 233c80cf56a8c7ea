"""What stands between this process and a server: it ends all that the server has started.

It runs as a program of its own. Its standard input says what to start, and its end, however it
comes, that all is to end; its standard output is the server's, its exit code too. What a server
starts may outlive it in a session of its own, as tmux does: it is known by a variable that all of
them have.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

#: The variable by which the processes of one server are known.
MARK = "AGENT_SANDBOX_PROCESS"

# Seconds that processes get to end by themselves.
_PATIENCE = 2.0
# Looks for what is left, which may be starting more.
_LOOKS = 5
_SIGNALLED = 128


def main() -> int:
    """Start the server, wait for its end or for the parent's word, and clear up."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # it ends when its input does, and not before
            # Not SIG_IGN: what it starts would ignore them too.
            signal.signal(getattr(signal, name), lambda *_: None)
    wanted: dict[str, Any] = json.loads(sys.stdin.readline())
    sys.path = wanted["path"]  # where the parent has found psutil
    import psutil

    own_group: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        own_group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    server = subprocess.Popen(  # noqa: S603 - what the parent wants started
        wanted["command"],
        env=wanted["environment"],
        cwd=wanted["folder"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        **own_group,
    )
    is_over = threading.Event()
    was_told = threading.Event()

    def listen() -> None:
        if sys.stdin.readline().strip() == "end":
            was_told.set()
        is_over.set()

    def wait() -> None:
        server.wait()
        is_over.set()

    for work in (listen, wait):
        threading.Thread(target=work, daemon=True).start()
    is_over.wait()
    code = server.poll()
    mark = wanted["environment"][MARK]
    # Its own process too: it may have written over its environment, as Apptainer does.
    _end_all(psutil, lambda: [*_with_children(psutil, server.pid), *_marked(psutil, mark)])
    server.wait()
    if code is None and not was_told.is_set():  # the parent is gone, and cleans up no more
        for folder in wanted["scratch"]:
            shutil.rmtree(folder, ignore_errors=True)
    ended = server.returncode if code is None else code
    return ended if ended >= 0 else _SIGNALLED - ended


def _marked(psutil: Any, mark: str) -> list[Any]:
    """Return the processes of a server, and their children, whose environment may be another."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                found += [process, *process.children(recursive=True)]
    return list(dict.fromkeys(found))


def _with_children(psutil: Any, pid: int) -> list[Any]:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def _end_all(psutil: Any, find: Callable[[], list[Any]]) -> None:
    known: list[Any] = []
    for look in range(_LOOKS):
        # Also those of the looks before: one whose parents have gone is known by nothing else.
        known = [process for process in dict.fromkeys([*known, *find()]) if _lives(psutil, process)]
        if not known:
            return
        for process in known:
            with suppress(psutil.Error):
                process.terminate() if look == 0 else process.kill()
        psutil.wait_procs(known, timeout=_PATIENCE)


def _lives(psutil: Any, process: Any) -> bool:
    with suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


if __name__ == "__main__":
    sys.stdout.flush()
    exit_code = main()
    # A thread waits for input that may never come: nothing is left to do for it.
    import os

    os._exit(exit_code)
