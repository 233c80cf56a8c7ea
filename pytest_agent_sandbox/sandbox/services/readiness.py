"""When a service is ready: its health check, ports, a line of its log, a page, a command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_agent_sandbox.errors import SettingsError

Kind = Literal["health", "ports", "log", "http", "command", "started", "adopted"]


@dataclass(frozen=True)
class Ready:
    """When a service is ready; made by its class methods.

    Attributes:
        kind: What is looked at.
        words: The command's words.
        text: The pattern of a log line, or the path of a page.
        number: The port, as it is known; 0 for all. How often a log line has to come.
        status: The status that a page has to have; 0 for any below 400.
    """

    kind: Kind
    words: tuple[str, ...] = ()
    text: str = ""
    number: int = 0
    status: int = 0

    @classmethod
    def health(cls) -> Ready:
        """Once the health check of its image passes; it is asked at once, and not every 30 s."""
        return cls("health")

    @classmethod
    def port(cls, number: int = 0) -> Ready:
        """Once a port is open.

        Args:
            number: The port; 0 for all of its ports.
        """
        return cls("ports", number=number)

    @classmethod
    def log(cls, pattern: str, *, times: int = 1) -> Ready:
        """Once its log has a line that a regular expression is found in.

        Args:
            pattern: The expression.
            times: How many such lines there have to be: the image of PostgreSQL starts its server
                twice.

        Raises:
            SettingsError: It is no regular expression.
        """
        try:
            re.compile(pattern)
        except re.error as error:
            raise SettingsError(
                f"Ready.log: {pattern!r} is no regular expression: {error}"
            ) from None
        return cls("log", text=pattern, number=times)

    @classmethod
    def http(cls, path: str = "/", *, port: int = 0, status: int = 0) -> Ready:
        """Once a page answers.

        Args:
            path: Its path.
            port: The port; 0 for the first of its ports.
            status: The status that it has to answer with; 0 for any below 400.
        """
        if not path.startswith("/"):
            raise SettingsError(f"Ready.http: {path!r} is no path such as /health")
        return cls("http", text=path, number=port, status=status)

    @classmethod
    def command(cls, command: str | Sequence[str]) -> Ready:
        """Once a command in its container ends with exit code 0.

        Args:
            command: The command: a string for the container's shell, or words.
        """
        words = ("/bin/sh", "-c", command) if isinstance(command, str) else tuple(command)
        if not words or not words[-1]:
            raise SettingsError("Ready.command: the command is empty")
        return cls("command", words=words)

    @classmethod
    def started(cls) -> Ready:
        """Once its container has started: nothing is waited for."""
        return cls("started")

    def __str__(self) -> str:
        if self.kind == "ports":
            return f"its port {self.number} to open" if self.number else "its ports to open"
        if self.kind == "log":
            often = f" {self.number} times" if self.number > 1 else ""
            return f"{self.text!r} in its log{often}"
        if self.kind == "http":
            wanted = f"status {self.status}" if self.status else "a status below 400"
            return f"{self.text} to answer with {wanted}"
        if self.kind == "command":
            words = self.words[2:] if self.words[:2] == ("/bin/sh", "-c") else self.words
            return f"`{shlex.join(words) if len(words) > 1 else words[0]}` to succeed"
        if self.kind == "adopted":
            return "what its testcontainers object waits for"
        return "its health check to pass" if self.kind == "health" else "its start"
