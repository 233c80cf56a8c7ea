"""Where a workspace's log and its progress go, where nobody says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from pytest_agent_sandbox.containers.progress import Progress, show_progress
from pytest_agent_sandbox.host.scratch import ScratchFolder


@contextmanager
def log_file() -> Iterator[Path]:
    """Yield the path of a log that nobody asked for; it goes with its folder."""
    with ScratchFolder() as scratch:
        yield scratch.path / "container.log"


def to_stderr(output: bytes) -> None:
    """Write a piece of a log to standard error."""
    sys.stderr.write(output.decode(errors="replace"))
    sys.stderr.flush()


def shown(progress: Progress | None) -> AbstractContextManager[Progress]:
    """Return the progress to report to: the one that is given, or one on standard error."""
    return show_progress(sys.stderr) if progress is None else nullcontext(progress)
