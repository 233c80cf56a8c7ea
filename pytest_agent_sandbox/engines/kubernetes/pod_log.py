"""A pod's log, written to a file as it comes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pytest_agent_sandbox.engines.kubernetes.cluster import Cluster
from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.host.log_file import LogFile

logger = seldom.logger(__name__)

_PAUSE = 0.5
_CLOSE_PATIENCE = 5.0
_NEWLINE = b"\n"


class PodLog(Closing):
    """A thread that follows the log of a pod's container; a stream that breaks off is taken up.

    Args:
        cluster: Where the pod is.
        pod: Its name.
        container: Which of its containers.
        file: Where its output goes. Closed with this.
        is_over: Tells whether the pod has ended, so that no more will come.
    """

    def __init__(
        self,
        cluster: Cluster,
        pod: str,
        container: str,
        file: LogFile,
        is_over: Callable[[], bool],
    ) -> None:
        self._cluster = cluster
        self._path = cluster.path("pods", f"{pod}/log")
        self._container = container
        self._file = file
        self._is_over = is_over
        self._closing = threading.Event()
        self._answer: Any = None
        self._last = b""
        self._thread = threading.Thread(
            target=self._run, name=f"agent-sandbox-log-{pod[-12:]}", daemon=True
        )
        self._thread.start()

    def tail(self, lines: int) -> str:
        """Return the last lines that were written."""
        return self._file.tail(lines)

    def drain(self, timeout: float) -> None:
        """Wait until all of a pod that has ended is written."""
        self._thread.join(timeout)

    def close(self) -> None:
        """End it, and close the file."""
        self._closing.set()
        answer = self._answer
        if answer is not None:
            with suppress(Exception):  # it ends by itself at the same time
                answer.extensions["network_stream"].get_extra_info("socket").shutdown(2)
        self._thread.join(_CLOSE_PATIENCE)
        with suppress(OSError, ValueError):
            self._file.flush()
        self._file.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            is_last = self._is_over()  # what is read after this is all
            try:
                self._follow()
            except SandboxError:
                logger.debug("a pod's log has broken off", exc_info=True)
            except Exception:
                if not self._closing.is_set():
                    logger.exception("a pod's log cannot be written")
            if is_last:
                return
            self._closing.wait(_PAUSE if not self._is_over() else 0)

    def _follow(self) -> None:
        query = {"container": self._container, "follow": "true", "timestamps": "true"}
        if self._last:
            query["sinceTime"] = self._last.decode().partition(".")[0].rstrip("Z") + "Z"
        path, rest = self._path, b""
        with self._cluster.reading(path, "read a pod's log", query, silence=None) as answer:
            self._answer = answer
            try:
                for chunk in answer.iter_raw():
                    *lines, rest = (rest + chunk).split(_NEWLINE)
                    self._write(lines)
            finally:
                self._answer = None

    def _write(self, lines: list[bytes]) -> None:
        """Write lines that begin with their times, those apart that were written before."""
        for line in lines:
            time, _, text = line.partition(b" ")
            if time <= self._last:
                continue
            self._last = time
            self._file.write(text + _NEWLINE)
