"""Live view on the terminal under a running test: pytest has captured the usual ways to it."""

from __future__ import annotations

import io
import os
import sys
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, Self, TextIO

import pytest

from pytest_agent_sandbox.evidence import sections
from pytest_agent_sandbox.evidence.live_view import LiveView
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.plugin.pytest_run import is_worker, worker_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_agent_sandbox.client.events import Event

logger = seldom.logger(__name__)

_STDOUT, _STDERR = 1, 2
#: What pytest's `--color` means to rich; without it rich looks at the terminal itself.
_COLOURS: dict[str, dict[str, Any]] = {"yes": {"force_terminal": True}, "no": {"no_color": True}}


class LiveTerminal(Closing):
    """Terminal that shows what the agents of tests do; a context manager.

    Args:
        file: The terminal, or whatever pytest itself writes to.
        worker: xdist's name of this process, where there are several.
        color: pytest's `--color`: `yes`, `no` or `auto`.
    """

    def __init__(self, file: TextIO, worker: str = "", color: str = "auto") -> None:
        from rich.console import Console

        self._file = file
        self._worker = worker
        self._console = Console(
            file=file,
            soft_wrap=True,
            highlight=False,
            markup=False,
            emoji=False,
            **_COLOURS.get(color, {}),
        )

    @classmethod
    def of(cls, config: pytest.Config) -> Self:
        """Return the terminal of this run. Call it from pytest's own thread.

        A worker of xdist has none, but the standard error of the process that started it.

        Raises:
            OSError: It is closed.
        """
        capture = config.pluginmanager.get_plugin("capturemanager")
        uncaptured = nullcontext() if capture is None else capture.global_and_fixture_disabled()
        with uncaptured:
            # A copy: capturing goes on, and must not get what is written here.
            descriptor = os.dup(_STDERR if is_worker(config) else _STDOUT)
        encoding = getattr(sys.__stdout__, "encoding", None) or "utf-8"
        file = _Unfailing(
            open(descriptor, "wb"),  # noqa: PTH123, SIM115 - a descriptor, which close() closes
            encoding=encoding,
            errors="replace",
            line_buffering=True,
        )
        return cls(
            file,
            worker_id(config) if is_worker(config) else "",
            config.getoption("color", "auto"),
        )

    def view(
        self,
        test: str,
        conversation: int,
        mask: Callable[[str], str],
        started: float | None = None,
    ) -> Callable[[Event], None]:
        """Return a callback for one conversation of a test.

        Args:
            test: The test's name.
            conversation: Which of its conversations.
            mask: Masks the secrets in a text.
            started: When the test began, in seconds since 1970; its report counts from then too.
        """
        number = f" #{conversation}" if conversation > 1 else ""
        name = sections.printable(mask(test))
        prefix = f"[{self._worker} {name}{number}] " if self._worker else f"{number[1:]:<3}"
        if conversation == 1:
            self._file.write("\n")  # pytest has begun a line with a test's name
        view = LiveView(self._console, prefix=prefix, mask=mask, started=started)

        def show(event: Event) -> None:
            try:
                view(event)
            except Exception:  # an event that nobody has thought of is not the test's failure
                logger.warning("an event could not be shown", exc_info=True)

        return show

    def close(self) -> None:
        """Let go of the terminal."""
        self._file.close()


class _Unfailing(io.TextIOWrapper):
    """File that takes no notice of a reader who has left, or of a full disk.

    What the test is about goes on; rich would end the thread, and send pytest's output nowhere.
    """

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()

    def close(self) -> None:
        with suppress(OSError):
            super().close()
