"""Where secrets are in what the server is sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# As of agent server 1.58: what its API describes as passwords, of LLMs and of MCP servers.
_TABLES = ("env", "headers")
_FIELDS = (
    "access_token",
    "api_key",
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "client_secret",
    "password",
    "refresh_token",
)
_SCHEMES = ("basic", "bearer", "token")
_CREDENTIAL, _ITS_VALUE = "auth", "value"


def secrets_in(document: Any) -> Iterator[str]:
    """Return the texts in a document, as the server takes it, that nobody is to see.

    These are API keys and credentials, and all values of tables of variables and of headers.

    Args:
        document: Anything made of dicts and lists, secrets in clear.
    """
    if isinstance(document, Mapping):
        for name, value in document.items():
            if name in _TABLES and isinstance(value, Mapping):
                yield from _values(value)
            elif name in _FIELDS and isinstance(value, str):
                yield value
            elif name == _CREDENTIAL and isinstance(value, Mapping):
                credential = value.get(_ITS_VALUE)
                yield from (credential,) if isinstance(credential, str) else ()
                yield from secrets_in(value)
            else:
                yield from secrets_in(value)
    elif isinstance(document, list | tuple):
        for one in document:
            yield from secrets_in(one)


def _values(table: Mapping[str, Any]) -> Iterator[str]:
    for text in table.values():
        if isinstance(text, str):
            yield text
            scheme, _, rest = text.partition(" ")
            if scheme.lower() in _SCHEMES and rest:
                yield rest
