"""Locks that let one process at a time work on an engine, of all on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from pytest_agent_sandbox.containers.progress import Progress
from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host.lock_folder import lock_folder

if TYPE_CHECKING:
    from pytest_agent_sandbox.containers.engine import ContainerEngine

#: Seconds of waiting before the user is told what for.
PATIENCE = 2.0
#: Seconds of waiting that are an error: the slowest build or pull takes less.
LIMIT = 1800.0


@contextmanager
def machine_lock(
    engine: ContainerEngine, subject: str, progress: Progress, *, limit: float = LIMIT
) -> Iterator[None]:
    """Hold the lock on a piece of work; the operating system frees it if this process dies.

    Args:
        engine: The engine the work is done on; other engines have locks of their own.
        subject: What is worked on, such as an image's name.
        progress: Told what is waited for.
        limit: Seconds to wait at most.

    Raises:
        SandboxError: Another process held the lock all that time, or no lock can be made.
    """
    lock = FileLock(_lock_file(engine, subject))
    try:
        try:
            lock.acquire(timeout=min(PATIENCE, limit))
        except Timeout:
            progress.note(f"waiting for another process that is busy with {subject}")
            lock.acquire(timeout=max(limit - PATIENCE, 0))
    except Timeout:
        raise SandboxError(
            f"Another process has been busy with {subject} for over {limit:.0f} s; "
            f"it holds the lock {lock.lock_file}. End it, then try again."
        ) from None
    except OSError as error:
        raise SandboxError(f"Cannot lock {lock.lock_file}: {error.strerror}.") from error
    try:
        yield
    finally:
        lock.release()


def _lock_file(engine: ContainerEngine, subject: str) -> Path:
    with engine.calling("tell its identity"):
        identity = engine.client.info().get("ID") or engine.endpoint
    digest = hashlib.sha256(f"{identity}\n{subject}".encode()).hexdigest()[:16]
    return lock_folder() / f"{digest}.lock"
