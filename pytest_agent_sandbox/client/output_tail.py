"""The output of a command while it runs, line by line.

The server keeps a command's output to itself until there is a MiB of it, or the command has ended.
So its file is read, from where the last reading ended.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable

from pytest_agent_sandbox.client import versions
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import ServerError

#: Seconds between two looks at the file, each of which is a request.
_INTERVAL = 0.4
_TIMEOUT = 10.0
#: Bytes read at once, and characters after which a line is told before its end.
_MOST = 4 * 1024 * 1024
_LONGEST_LINE = 64 * 1024
_PARTIAL_CONTENT = 206


class OutputTail:
    """The text of a file that grows, told in whole lines.

    Args:
        connection: The server.
        path: Absolute path of the file in the sandbox; it may not be there yet.
        tell: Called with one or more whole lines.
        first: What the file begins with before its text.
        last: What comes after its text.
    """

    def __init__(
        self,
        connection: ServerConnection,
        path: str,
        tell: Callable[[str], object],
        *,
        first: str = "",
        last: str = "",
    ) -> None:
        self._connection = connection
        self._path = path
        self._tell = tell
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._skipped = len(first)
        self._last = last.encode()
        self._read = 0
        self._line = ""
        self._next = 0.0

    def poll(self) -> None:
        """Look whether there is more, unless that was done just now.

        Raises:
            SandboxError: Whatever the connection's guard knows.
            BaseException: What `tell` raised.
        """
        if time.monotonic() < self._next:
            return
        start = self._skipped + self._read
        try:
            address, params = versions.file_request(
                self._connection.version, "download", self._path
            )
            answer = self._connection.request(
                "GET",
                address,
                params=params,
                headers={"Range": f"bytes={start}-{start + _MOST - 1}"},
                timeout=_TIMEOUT,
            )
        except ServerError:
            # The file is not there yet, or has nothing new. What is missed here comes at the end.
            answer = None
        self._next = time.monotonic() + _INTERVAL
        if answer is not None:
            is_part = answer.status_code == _PARTIAL_CONTENT
            self._take(self._before_last(answer.content if is_part else answer.content[start:]))

    def end(self, content: bytes) -> None:
        """Tell what was not told yet of the file's whole content."""
        self._take(content[self._read :], final=True)

    def _before_last(self, content: bytes) -> bytes:
        """Return what is text for sure: without the end's mark, or what may be its beginning."""
        content = content.partition(self._last)[0] if self._last else content
        for length in range(len(self._last) - 1, 0, -1):
            if content.endswith(self._last[:length]):
                return content[:-length]
        return content

    def _take(self, content: bytes, *, final: bool = False) -> None:
        self._read += len(content)
        text = self._line + self._decoder.decode(content, final)
        end = len(text) if final or len(text) > _LONGEST_LINE else text.rfind("\n") + 1
        self._line = text[end:]
        if text[:end]:
            self._tell(text[:end])
