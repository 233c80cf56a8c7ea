"""Folders for what a process needs only while it lives."""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.host.lock_folder import lock_folder

_LOCK = re.compile(r"scratch-[0-9a-f]{16}\.lock")


class ScratchFolder(Closing):
    """A new folder, which nobody else may look into; a context manager.

    It goes with `close`. What a killed process has left is removed by the next process that makes
    such a folder: beside each is a lock that its process holds, and that ends with the process.

    Attributes:
        path: The folder.

    Raises:
        SandboxError: The folder of locks cannot be made.
        OSError: There is no room for it, or the like.
    """

    def __init__(self) -> None:
        _sweep()
        try:
            self._lock: FileLock | None = _new_lock()
        except NotImplementedError:  # a file system without locks: nobody can tell who lives
            self._lock = None
            self.path = Path(tempfile.mkdtemp(prefix="agent-sandbox-"))
            return
        self.path = _folder_of(self._lock)
        self.path.mkdir(mode=0o700)

    def close(self) -> None:
        """Remove it with all that is in it. May be called more than once."""
        shutil.rmtree(self.path, ignore_errors=True)
        lock, self._lock = self._lock, None
        if lock is not None:
            _remove(lock)


def _sweep() -> None:
    """Remove the folders of processes that live no more."""
    for file in lock_folder().glob("scratch-*.lock"):
        lock = FileLock(file, thread_local=False)
        if not _LOCK.fullmatch(file.name):
            continue
        with suppress(Timeout, OSError, NotImplementedError):  # it lives; or it cannot be told
            lock.acquire(timeout=0)
            shutil.rmtree(_folder_of(lock), ignore_errors=True)
            _remove(lock)


def _new_lock() -> FileLock:
    while True:
        file = lock_folder() / f"scratch-{secrets.token_hex(8)}.lock"
        lock = FileLock(file, thread_local=False)
        lock.acquire()
        if file.exists():
            return lock
        lock.release()  # another process has swept it, in the moment before it was held


def _folder_of(lock: FileLock) -> Path:
    return Path(lock.lock_file).with_suffix("")


def _remove(lock: FileLock) -> None:
    """Remove a lock's file while it is held, where the system lets one, and let go of it."""
    file = Path(lock.lock_file)
    with suppress(OSError):
        file.unlink(missing_ok=True)
    lock.release()
    with suppress(OSError):  # on Windows, where it was still open
        file.unlink(missing_ok=True)
