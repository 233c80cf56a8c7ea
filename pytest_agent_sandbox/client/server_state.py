"""The traces of its users, other than files, that an agent server keeps: deleted, and compared."""

from __future__ import annotations

import re
from typing import Any

import httpx

from pytest_agent_sandbox.client.answers import an_id, an_object, as_text
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import ServerError

# The paths of the server's settings (1.58); one that a version does not know is unknown before and
# after. All else is in files: profiles of agents and LLMs, skills, MCP servers.
_SETTINGS = ("/api/settings", "/api/settings/secrets")
# An agent's settings hold the time of day.
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[\d.]*")
_CONVERSATIONS = "/api/conversations"
_COMMANDS = "/api/bash/bash_events"
# Variables that no user of the server has set: a shell sets the first; browser-use the next two,
# when the server loads its tools (1.25 to 1.36 do so after they are up); LiteLLM the last, when it
# first counts tokens.
_OF_NOBODY = (
    *("_=", "PWD=", "OLDPWD=", "SHLVL="),
    *("BROWSER_USE_LOGGING_LEVEL=", "BROWSER_USE_SETUP_LOGGING="),
    "TIKTOKEN_CACHE_DIR=",
)
# Seconds for one request: a server that is still busy for a past test is not worth the wait.
_PATIENCE = 5.0

_MOST_PAGES = 50


class ServerState:
    """The state of a server that nobody has used yet, to be compared with later.

    Args:
        connection: The way to the server.

    Raises:
        ServerError: The server does not answer.
    """

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self._environment = self._read_environment()
        self._delete(_COMMANDS)
        self._read_settings()  # the first question makes the server write its settings down
        self._settings = self._read_settings()

    def clear(self) -> list[str]:
        """Delete what users have begun, and say in words what has changed beside that.

        Raises:
            ServerError: The server does not answer.
        """
        for _ in range(_MOST_PAGES):  # the server tells a few at a time
            known = self._conversations()
            for conversation in known:
                self._delete(f"{_CONVERSATIONS}/{conversation}")
            if not known:
                break
        is_same = self._read_environment() == self._environment
        self._delete(_COMMANDS)
        return [] if is_same else ["the server's environment has changed"]

    def changes(self) -> list[str]:
        """Say in words what is not as it was, once files are.

        Raises:
            ServerError: The server does not answer.
        """
        now = self._read_settings()
        problems = [
            f"what the server answers to {path} has changed"
            for path in _SETTINGS
            if now[path] != self._settings[path]
        ]
        return [*problems, "conversations are left"] if self._conversations() else problems

    def _conversations(self) -> list[str]:
        path = f"{_CONVERSATIONS}/search"
        found = an_object(self._connection.decoded(self._request("GET", path)), path).get("items")
        return [an_id(item, path) for item in found or ()]

    def _read_environment(self) -> list[str]:
        answer = self._request(
            "POST", "/api/bash/execute_bash_command", {"command": "env", "cwd": "/", "timeout": 5}
        )
        found = an_object(self._connection.decoded(answer), "env")
        lines = as_text(found.get("stdout") or "").splitlines()
        return sorted(line for line in lines if not line.startswith(_OF_NOBODY))

    def _read_settings(self) -> dict[str, str]:
        return {path: self._read(path) for path in _SETTINGS}

    def _read(self, path: str) -> str:
        try:
            return _TIME.sub("now", self._request("GET", path).text)
        except ServerError as error:
            if error.status is None:
                raise
            return str(error.status)

    def _delete(self, path: str) -> None:
        self._request("DELETE", path)

    def _request(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return self._connection.request(method, path, json=body, timeout=_PATIENCE)
