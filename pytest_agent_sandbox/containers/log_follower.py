"""A container's output, written to a file from its first byte to its last."""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import requests
import urllib3

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import EngineUnavailable
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.host.log_file import LogFile

logger = seldom.logger(__name__)

_FRAME_HEADER = struct.Struct(">BxxxL")


class LogFollower:
    """A thread that writes what one container prints to a file, as it comes.

    It reads the engine's attach stream, opened before the container starts: nothing is lost, the
    container may die at once, and no log driver needs to be readable. The end of the stream is
    the first sign that a container ended, so this thread also is who looks after that.

    Args:
        engine: The container's engine.
        container_id: The container.
        file: The file; what it already holds stays, as an earlier attempt's log. Closed with this.
        is_over: Called in the thread when the stream has ended. Answers whether the container has;
            if not, the stream was lost, and is followed again.
        echo: Called in the thread with each piece of output too.
    """

    def __init__(
        self,
        engine: ContainerEngine,
        container_id: str,
        file: LogFile,
        is_over: Callable[[], bool],
        echo: Callable[[bytes], object] | None = None,
    ) -> None:
        self._engine = engine
        self._file = file
        self._is_over = is_over
        self._echo = echo
        self._url = (
            f"{engine.client.api.base_url}/v{engine.client.api.api_version}"
            f"/containers/{container_id}"
        )
        self._attached: Future[None] = Future()
        self._response: requests.Response | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"container-log-{container_id[:12]}", daemon=True
        )

    def attach(self) -> None:
        """Start following, and return once the engine sends all that the container will print.

        Raises:
            EngineUnavailable: The engine did not answer in time.
            SandboxError: It refused.
        """
        self._thread.start()
        try:
            # The stream itself must be free to be silent for hours, so its request cannot have a
            # time limit: the limit on the engine's answer is here.
            self._attached.result(timeout=self._engine.client.api.timeout)
        except TimeoutError as error:
            raise EngineUnavailable(
                f"The container engine at {self._engine.endpoint} does not answer "
                "the request for a container's output"
            ) from error

    def tail(self, lines: int) -> str:
        """Return the last lines written so far, of this container only."""
        return self._file.tail(lines)

    def join(self, timeout: float) -> bool:
        """Wait until everything is written; False when that takes longer than the seconds given."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def close(self, timeout: float = 2.0) -> None:
        """Write what is still to come, for some seconds at most, and end the thread.

        Never call it from the thread itself. The container should be gone by now.
        """
        if not self.join(timeout):
            self.stop(timeout)
        self._file.close()

    def stop(self, timeout: float = 2.0) -> None:
        """End the thread at once, although more may come.

        Never call it from the thread itself.
        """
        response = self._response
        # Only urllib3 from 2.3 can wake up a blocked reader. With an older one the thread is a
        # daemon that ends when the engine closes the connection, or with this process.
        shutdown = getattr(response.raw, "shutdown", None) if response is not None else None
        if shutdown is not None:
            shutdown()
            self.join(timeout)
        self._file.close()

    def _run(self) -> None:
        request = self._request_attach
        while True:
            try:
                response = request()
            except BaseException as error:
                if not self._attached.done():
                    self._attached.set_exception(error)
                    return
                logger.debug("cannot follow a container's output again", exc_info=True)
            else:
                self._copy(response)
            if self._is_over():
                return
            # The engine's connection broke, not the container.
            request = self._request_log

    def _request_attach(self) -> requests.Response:
        with self._engine.calling("send a container's output"):
            response = self._engine.client.api.post(
                f"{self._url}/attach",
                params={"stream": 1, "stdout": 1, "stderr": 1},
                stream=True,
                timeout=(self._engine.client.api.timeout, None),
            )
            response.raise_for_status()
        self._attached.set_result(None)
        return response

    def _request_log(self) -> requests.Response:
        with self._engine.calling("send a container's log"):
            response = self._engine.client.api.get(
                f"{self._url}/logs",
                params={"follow": 1, "stdout": 1, "stderr": 1},
                stream=True,
                timeout=(self._engine.client.api.timeout, None),
            )
            response.raise_for_status()
        # The engine sends everything again, so the file is written anew.
        self._file.start_again()
        return response

    def _copy(self, response: requests.Response) -> None:
        self._response = response
        writable = True
        try:
            for chunk in _frames(response.raw):
                try:
                    if writable:
                        self._file.write(chunk)
                except (OSError, ValueError):  # ValueError: the file has been closed
                    # A full disk must not hide that the container dies later.
                    writable = False
                    logger.warning("cannot write a container's log", exc_info=True)
                if self._echo is not None:
                    self._echo(chunk)
        except (urllib3.exceptions.HTTPError, OSError):
            logger.debug("the stream of a container's output broke", exc_info=True)
        finally:
            self._response = None
            response.close()
            with contextlib.suppress(OSError, ValueError):
                self._file.flush()


def _frames(raw: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Yield the payloads of the engine's multiplexed stream: both kinds of output, in order."""
    while len(header := raw.read(_FRAME_HEADER.size)) == _FRAME_HEADER.size:
        _, size = _FRAME_HEADER.unpack(header)
        yield raw.read(size)
