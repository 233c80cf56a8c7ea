"""A part of an agent server's API, whose answers are JSON documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr

from pytest_agent_sandbox.client.agents import plain
from pytest_agent_sandbox.client.answers import an_object, shown
from pytest_agent_sandbox.client.pages import items
from pytest_agent_sandbox.client.secret_fields import secrets_in
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import ServerError

#: Seconds for the server to answer.
TIMEOUT = 60.0


class Resource:
    """What is below one path of the server.

    Every method raises `ServerError` where the server refused, is too old for it, or did not answer
    within 60 s. What it returns is what the server answers, as of agent server 1.58.

    Args:
        connection: The way to the server.
        on_secret: Called with each secret before the server gets it.
    """

    path = ""

    def __init__(
        self,
        connection: ServerConnection,
        on_secret: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._connection = connection
        self._on_secret = on_secret

    def _in_clear(self, secret: SecretStr | str) -> str:
        text = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
        self._on_secret(text)
        return text

    def _described(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return a document as the server takes it, after telling of the secrets in it."""
        described = dict(plain(document))
        for secret in secrets_in(described):
            self._on_secret(secret)
        return described

    def _ask(
        self,
        method: str,
        *parts: str,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
        timeout: float = TIMEOUT,
    ) -> Any:
        path = self._at(*parts)
        answer = self._connection.request(
            method, path, json=body, params=params, timeout=timeout, retry=method == "GET"
        )
        return self._connection.decoded(answer)

    def _object(self, method: str, *parts: str, **given: Any) -> dict[str, Any]:
        return an_object(self._ask(method, *parts, **given), self._at(*parts))

    def _list(self, method: str, *parts: str, field: str = "", **given: Any) -> list[Any]:
        answer = self._ask(method, *parts, **given)
        found = an_object(answer, self._at(*parts)).get(field) if field else answer
        if not isinstance(found, list):
            raise ServerError(f"{self._at(*parts)} was answered with {shown(found)}, no list.")
        return found

    def _pages(self, *parts: str, **params: Any) -> Iterator[Any]:
        return items(self._connection, self._at(*parts), params, timeout=TIMEOUT)

    def _at(self, *parts: str) -> str:
        return "/".join([self.path, *(quote(part, safe="") for part in parts)])


def given(**values: Any) -> dict[str, Any]:
    """Return those values that are not None: the server has defaults for the others."""
    return {name: value for name, value in values.items() if value is not None}
