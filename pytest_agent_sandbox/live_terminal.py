"""The terminal under a running test: pytest has captured the usual ways to it."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Self, TextIO

import pytest

from pytest_agent_sandbox.evidence.live import LiveView
from pytest_agent_sandbox.run import is_worker, worker_id

if TYPE_CHECKING:
    from collections.abc import Callable

_STDOUT, _STDERR = 1, 2


class LiveTerminal:
    """Shows on the terminal what the agents of tests do; a context manager.

    Args:
        file: The terminal, or whatever pytest itself writes to.
        worker: xdist's name of this process, where there are several.
    """

    def __init__(self, file: TextIO, worker: str = "") -> None:
        from rich.console import Console

        self._file = file
        self._worker = worker
        self._console = Console(
            file=file, soft_wrap=True, highlight=False, markup=False, emoji=False
        )

    @classmethod
    def of(cls, config: pytest.Config) -> Self:
        """The terminal of this run. To be called from pytest's own thread.

        A worker of xdist has none, but the standard error of the process that started it.
        """
        capture = config.pluginmanager.get_plugin("capturemanager")
        uncaptured = nullcontext() if capture is None else capture.global_and_fixture_disabled()
        with uncaptured:
            # A copy: capturing goes on, and must not get what is written here.
            descriptor = os.dup(_STDERR if is_worker(config) else _STDOUT)
        encoding = getattr(sys.__stdout__, "encoding", None) or "utf-8"
        file = open(  # noqa: PTH123, SIM115 - a descriptor, which close() closes
            descriptor, "w", encoding=encoding, errors="replace", buffering=1
        )
        return cls(file, worker_id(config) if is_worker(config) else "")

    def view(self, test: str, conversation: int, mask: Callable[[str], str]) -> LiveView:
        """A callback for one conversation of a test.

        Args:
            test: The test's name.
            conversation: Which of its conversations.
            mask: Masks the secrets in a text.
        """
        number = f" #{conversation}" if conversation > 1 else ""
        prefix = f"[{self._worker} {test}{number}] " if self._worker else f"{number[1:]:<3}"
        if conversation == 1:
            self._file.write("\n")  # pytest has begun a line with a test's name
        return LiveView(self._console, prefix=prefix, mask=mask)

    def close(self) -> None:
        """Lets go of the terminal."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
