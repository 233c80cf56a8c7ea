"""What starts, pauses and stops agent servers elsewhere: the seam to one API or another."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from pytest_agent_sandbox.client.answers import shown
from pytest_agent_sandbox.client.transport import ServerConnection
from pytest_agent_sandbox.errors import SandboxStartFailed, ServerError, SettingsError
from pytest_agent_sandbox.host.redaction import Redactor

_KEY_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_NOT_NOW = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
# Seconds between two tries of a request that may succeed a little later.
_PAUSE = 2.0

#: What becomes of a server; `gone` is one that the API does not know, or not yet.
Phase = Literal["starting", "running", "paused", "failed", "gone"]


@dataclass(frozen=True)
class State:
    """What the API says of the server.

    Attributes:
        phase: What becomes of it.
        words: The same in the API's words.
        log: The last lines of its log, where the API tells them.
    """

    phase: Phase
    words: str
    log: str = ""


class ApiConnection(ServerConnection):
    """The way to an API that has keys of its own.

    Args:
        url: The API's address.
        api_key: The key.
        header: The name of the header that the key goes in.
        prefix: What stands before the key in it.
    """

    def __init__(self, url: str, api_key: SecretStr, *, header: str, prefix: str = "") -> None:
        self._header = header
        self._prefix = prefix
        super().__init__(url, api_key)

    @property
    def headers(self) -> dict[str, str]:
        """What authenticates a request. Holds the key: not for logs."""
        assert self.api_key is not None
        return {self._header: self._prefix + self.api_key.get_secret_value()}


class Hosting(ABC):
    """One agent server that an API runs.

    Args:
        connection: The way to the API.
        arguments: What the API's address and its key are called where they are given.
        timeout: Seconds for a request.

    Attributes:
        id: The API's name of the server; empty as long as that is not known.
        url: The server's address.
        session_key: The server's own key.
        was_started: Whether it was started here; else it was there already.
        mask: Masks the secrets that are known of it.
    """

    #: What the API calls what it starts.
    noun = "sandbox"

    def __init__(
        self, connection: ApiConnection, *, arguments: tuple[str, str], timeout: float
    ) -> None:
        self.connection = connection
        self.id = ""
        self.url = ""
        self.session_key: SecretStr | None = None
        self.was_started = False
        self.mask = Redactor()
        self.secrets: set[str] = set()
        self._arguments = arguments
        self._timeout = timeout
        if connection.api_key is not None:
            self.learn_secrets(connection.api_key.get_secret_value())

    @property
    def place(self) -> str:
        """What reports call it."""
        return " ".join(filter(None, (self.noun, self.id, "of", self.connection.host)))

    @property
    def name(self) -> str:
        """The same at the beginning of a sentence."""
        return f"The {self.place}"

    @abstractmethod
    def begin(self, end: float) -> None:
        """Start the server, or find the one that is meant.

        Args:
            end: When to give up, by the monotonic clock.

        Raises:
            SandboxError: The API did not start it, or cannot be reached.
        """

    @abstractmethod
    def state(self, timeout: float) -> State:
        """Ask how it is, and learn its address and key.

        Raises:
            ServerError: The API does not say.
        """

    @abstractmethod
    def pause(self, timeout: float) -> None:
        """Have it paused. Raises ServerError."""

    @abstractmethod
    def resume(self, timeout: float) -> None:
        """Have it go on. Raises ServerError."""

    @abstractmethod
    def stop(self, timeout: float) -> None:
        """End it, if it is there. Raises ServerError."""

    def learn_secrets(self, *values: str) -> None:
        """Mask these values from now on."""
        self.secrets.update(values)
        self.mask.add(*values)

    def learn_way(self, url: object, session_key: object) -> None:
        """Take note of the server's address and key, where the API has told them.

        Raises:
            ServerError: They cannot be that.
        """
        if url:
            if not is_address(url):
                raise ServerError(f"{self.name} has an address of {shown(url)}, which is none.")
            self.url = str(url).rstrip("/")
        if session_key:
            if not (isinstance(session_key, str) and is_key(session_key)):
                raise ServerError(f"{self.name} has a session key that no HTTP header can hold.")
            self.learn_secrets(session_key)
            self.session_key = SecretStr(session_key)

    def ask(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        retry: bool = True,
    ) -> Any:
        """Ask the API, and return what it answers; None for an answer without a body.

        Raises:
            ServerError: It refused, or cannot be reached.
        """
        answer = self.connection.request(
            method,
            path,
            json=json,
            params=params,
            timeout=min(self._timeout, timeout or self._timeout),
            retry=retry,
        )
        return self.connection.decoded(answer) if answer.content.strip() else None

    def ask_to_start(self, path: str, *, end: float, longest: float, **given: Any) -> Any:
        """Ask the API for a new server, again where it says that it cannot start one just now.

        Args:
            path: Where.
            end: When to give up, by the monotonic clock.
            longest: Seconds for one try.
            given: The body or the parameters.

        Raises:
            ServerError: It refused, or cannot be reached.
        """
        while True:
            self.was_started = True  # as far as is known, also where the answer gets lost
            left = max(0.1, end - time.monotonic())
            try:
                answer = self.connection.request("POST", path, timeout=min(left, longest), **given)
                return self.connection.decoded(answer)
            except ServerError as error:
                # What was refused was not started.
                self.was_started = (
                    error.status is None or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
                )
                if error.status not in _NOT_NOW or left <= _PAUSE:
                    raise
            time.sleep(_PAUSE)

    def explained(self, error: ServerError) -> SandboxStartFailed:
        """Return the error of a start that the API refused, or never heard of."""
        url, key = self._arguments
        if error.status is None:
            what = "gave no answer that helps"
            advice = f"Check {url}, and that it can be reached from here."
        elif error.status in _KEY_REFUSED:
            what, advice = "refused the key", f"Check {key}."
        else:
            what, advice = f"did not start a {self.noun}", self.advice
        return SandboxStartFailed(self.mask(f"The API {what}: {_ended(str(error))} {advice}"))

    @property
    def advice(self) -> str:
        """What to do where the API did not start it."""
        return ""

    def close(self) -> None:
        """Close the way to the API."""
        self.connection.close()


def api_address(name: str, url: str) -> str:
    """Return the address of an API.

    Raises:
        SettingsError: It is none.
    """
    if not is_address(url):
        raise SettingsError(f"{name} is no address such as https://runtime.example")
    return url.rstrip("/")


def api_key(name: str, key: SecretStr | str) -> SecretStr:
    """Return the key of an API.

    Raises:
        SettingsError: It is empty, or no HTTP header can have it.
    """
    text = (key.get_secret_value() if isinstance(key, SecretStr) else key).strip()
    if not text or not is_key(text):
        raise SettingsError(f"{name} is empty, or has characters that no HTTP header can have.")
    return SecretStr(text)


def is_address(url: object) -> bool:
    """Tell whether it is the address of an HTTP server, without a password in it."""
    with suppress(ValueError, AttributeError, TypeError):
        parts = urlsplit(str(url)) if isinstance(url, str) else None
        if parts is not None and parts.port != 0:
            has_more = parts.query or parts.fragment or "@" in parts.netloc
            return parts.scheme in ("http", "https") and bool(parts.hostname) and not has_more
    return False


def is_key(text: str) -> bool:
    """Tell whether a header can have it."""
    return text.isascii() and text.isprintable()


def an_identifier(value: object, where: str) -> str:
    """Return an id that an API has given.

    Raises:
        ServerError: It cannot be one.
    """
    if isinstance(value, str) and value and value.isprintable():
        return value
    raise ServerError(f"{where} was answered with an id of {shown(value)}.")


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
