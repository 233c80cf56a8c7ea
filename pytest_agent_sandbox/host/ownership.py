"""The process that a container belongs to, and whether it still lives."""

from __future__ import annotations

import os
import re
import secrets
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.host.lock_folder import lock_folder

#: Names of labels: the owner, where its lock is, and, for people, its process and machine.
OWNER, PLACE, PID, HOST = "owner", "owner-place", "owner-pid", "owner-host"

#: What an owner's id looks like. A label may hold anything, and becomes part of a file's name.
_OWNER = re.compile(r"[0-9a-f]{1,64}")

OwnerState = Literal["alive", "dead", "unknown"]

# Seconds after which an owner surely holds its lock: it makes the file a moment before.
_SETTLED = 3600.0


class Owner(Closing):
    """A process that has containers. It holds a lock, which ends with it, however it ends.

    A process number would not do: numbers are used again, and other machines and containers that
    share an engine have their own.

    Attributes:
        id: What its containers are labelled with.
        labels: Everything they are labelled with.

    Raises:
        SandboxError: The folder of locks cannot be used.
    """

    def __init__(self) -> None:
        self.id = secrets.token_hex(8)
        try:
            self.labels = {
                OWNER: self.id,
                PLACE: _place(),
                PID: str(os.getpid()),
                HOST: socket.gethostname(),
            }
            self._lock = FileLock(owner_file(self.id), thread_local=False)
            self._lock.acquire()
        except (OSError, NotImplementedError) as error:
            raise SandboxError(f"No lock can be made in {lock_folder()}: {error}") from error

    def close(self) -> None:
        """Give up the lock: containers that are still there count as left behind."""
        self._lock.release()
        forget(self.id)


def owner_file(owner: str) -> Path:
    """Return the file that a living owner holds a lock on.

    Raises:
        SandboxError: The folder of locks cannot be used.
    """
    return lock_folder() / f"owner-{owner}.lock"


def forget(owner: str) -> None:
    """Remove what is left of an owner that has ended."""
    # On Windows, somebody may just be asking whether it lives.
    with suppress(OSError, SandboxError):
        owner_file(owner).unlink(missing_ok=True)


def owner_state(labels: Mapping[str, str]) -> OwnerState:
    """Tell whether the process that a container belongs to lives.

    Args:
        labels: The container's, without their prefix.

    Returns:
        `unknown` where that cannot be told from here: the process is on another machine, in
        another container, of another user, or has another folder for temporary files.
    """
    owner = labels.get(OWNER, "")
    if not _OWNER.fullmatch(owner) or labels.get(PLACE) != _place():
        return "unknown"
    file = owner_file(owner)
    if not file.exists():  # it ended in good order
        return "dead"
    return _holder(file)


def forget_ended() -> None:
    """Remove the files of owners that were killed when they had nothing on an engine any more.

    Raises:
        SandboxError: The folder of locks cannot be used.
    """
    for file in lock_folder().glob("owner-*.lock"):
        with suppress(OSError):  # another process is removing it too
            if time.time() - file.stat().st_mtime > _SETTLED and _holder(file) == "dead":
                file.unlink()


def _holder(file: Path) -> OwnerState:
    lock = FileLock(file, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return "alive"
    except OSError:
        return "unknown"
    lock.release()
    return "dead"


def _place() -> str:
    """Return the id of the folder of locks: another machine may have one of the same path."""
    file = lock_folder() / "place"
    if not file.exists():
        with FileLock(file.with_suffix(".lock")):
            if not file.exists():
                begun = file.with_suffix(".new")
                begun.unlink(missing_ok=True)  # a process was killed here
                with begun.open("x", encoding="ascii") as new:  # never through a link
                    new.write(secrets.token_hex(8))
                begun.replace(file)  # whole from the first moment
    return file.read_text("ascii")
