"""HTTP to one agent server: authentication, readable errors, and no waiting for the dead."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
from pydantic import SecretStr

from pytest_agent_sandbox.client import response_bodies
from pytest_agent_sandbox.client.asynchronous import check_caller
from pytest_agent_sandbox.client.caller_time import CallerTime
from pytest_agent_sandbox.client.guard import GUARD_INTERVAL, Guard
from pytest_agent_sandbox.client.request_errors import is_silence, may_pass
from pytest_agent_sandbox.client.sockets import END, GuardedTransport
from pytest_agent_sandbox.errors import ServerError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.host.closing import Closing

__all__ = ["GUARD_GRACE", "GUARD_INTERVAL", "Guard", "ServerConnection", "is_silence"]

logger = seldom.logger(__name__)

#: Seconds that a guard gets to notice what has just broken a connection: the socket of a dying
#: server closes a little before the engine reports the container's end.
GUARD_GRACE = 1.0

_CONNECT_TIMEOUT = 10.0
_WRITE_TIMEOUT = 60.0
# Seconds that a request gets at least, even if its deadline is over.
_SHORTEST_TIMEOUT = 0.1
_RETRY_DELAYS = (0.05, 0.2, 0.5, 1.0)
# Seconds for the server to say which it is.
_INFO_TIMEOUT = 5.0


class ServerConnection(Closing):
    """All HTTP requests to one agent server; usable from several threads at once.

    Args:
        host: Address of the server, such as `http://127.0.0.1:32768`.
        api_key: The server's session key; None for a server without authentication.
        guard: Asked at least every 0.25 s of any wait, and before any transport error is reported,
            so that a dead container surfaces as its own error instead of a refused connection.
        explain_silence: Asked where a server says nothing although the time is over: raises the
            reason if it knows one, such as a paused container. It may take a moment.
        read_timeout: Seconds of silence after which a request is given up.
        version: The server's version, where that is known already; else it is asked for.
    """

    def __init__(
        self,
        host: str,
        api_key: SecretStr | str | None = None,
        *,
        guard: Guard | None = None,
        explain_silence: Guard | None = None,
        read_timeout: float = 600.0,
        version: str = "",
    ) -> None:
        self._guard = guard
        #: Asked wherever the guard is: something else that makes waiting pointless.
        self.watch: Guard | None = None
        self.explain_silence = explain_silence
        #: Called before each request; what it does is in nobody's time but the caller's.
        self.on_use: Callable[[], object] | None = None
        #: The time of those who wait, each for its own thread.
        self.time = CallerTime()
        self._read_timeout = read_timeout
        #: The server's version, once it is known.
        self.known_version = version
        self._tells_no_version = False
        self._open(host, api_key)

    def _open(self, host: str, api_key: SecretStr | str | None) -> None:
        self.host = host.rstrip("/")
        self.api_key = SecretStr(api_key) if isinstance(api_key, str) else api_key
        # Certificates are loaded only where they are used: it takes tens of milliseconds.
        is_secure = self.host.startswith("https:")
        #: What TLS needs to know; None without it.
        self.tls = httpx.create_ssl_context() if is_secure else None
        self._client = httpx.Client(
            base_url=self.host,
            # Uncompressed: so no small answer can unfold to a large one.
            headers={**self.headers, "Accept-Encoding": "identity"},
            transport=GuardedTransport(self.check, self._check_silence, self.tls),
            trust_env=False,  # servers are reached directly, whatever proxies there are
            timeout=self._timeouts(self._read_timeout),
        )

    def move(self, host: str, api_key: SecretStr | str | None) -> None:
        """Go on with the same server where it has another address, or another key."""
        before = self._client
        self._open(host, api_key)
        before.close()

    @property
    def headers(self) -> dict[str, str]:
        """What authenticates a request. Holds the session key: not for logs."""
        if self.api_key is None:
            return {}
        return {"X-Session-API-Key": self.api_key.get_secret_value()}

    def websocket_url(self, path: str) -> str:
        """Return the `ws://` or `wss://` address of `path` on this server."""
        return "ws" + self.host.removeprefix("http") + path

    def check(self) -> None:
        """Raise what the guard raises, if anything, or that the caller was cancelled."""
        check_caller()
        if self._guard is not None:
            self._guard()
        if self.watch is not None:
            self.watch()

    def _note_use(self) -> None:
        if self.on_use is not None:
            self.on_use()

    def _check_silence(self) -> None:
        self.check()
        if self.explain_silence is not None and self._is_overdue:
            self.explain_silence()

    @property
    def _is_overdue(self) -> bool:
        return time.monotonic() >= self.time.deadline

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        files: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        retry: bool = False,
        deadline: float = math.inf,
    ) -> httpx.Response:
        """Send one request and return its answer, the body read.

        Args:
            method: HTTP method.
            path: Path on the server, with its leading slash.
            json: Body, sent as JSON.
            params: Query parameters; those that are None are left out.
            content: Body, sent as it is.
            files: Multipart files, as httpx takes them.
            headers: More headers than those that authenticate.
            timeout: Seconds for all of it: the connection, the answer to its last byte, and further
                tries. By default only silence is limited, to the connection's `read_timeout`.
            retry: Try again, a few times with short pauses, after a network error, a 429 or a 5xx.
                For requests that may safely arrive twice.
            deadline: When it is over, by the monotonic clock.

        Raises:
            ServerError: The server refused the request or cannot be reached.
            SandboxError: Whatever the guard knows to be the cause.
        """
        self._note_use()
        delays = iter(_RETRY_DELAYS if retry else ())
        end = self._end(timeout, deadline)
        while True:
            self.check()
            try:
                with self._client.stream(
                    method,
                    path,
                    json=json,
                    params=_without_none(params),
                    content=content,
                    files=files,
                    headers=headers,
                    timeout=self._timeouts(timeout, end),
                    extensions={END: end},
                ) as answer:
                    response = response_bodies.read_whole(answer)
                self._raise_for_status(response)
            except (httpx.RequestError, ServerError) as error:
                is_tried_again = may_pass(error) and not self._is_overdue
                delay = next(delays, None) if is_tried_again else None
                if delay is None or time.monotonic() + delay >= end:
                    raise self._explain(error, method, path) from error
                logger.debug("%s %s: %s; trying again", method, path, error)
                time.sleep(delay)
            else:
                return response

    @contextlib.contextmanager
    def stream(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None
    ) -> Iterator[httpx.Response]:
        """Send one request and yield its answer, the body not yet read: for large downloads.

        Raises:
            ServerError: The server refused the request, or the transfer broke off.
            SandboxError: Whatever the guard knows to be the cause.
        """
        self._note_use()
        self.check()
        end = {END: self._end()}
        try:
            with self._client.stream(
                method, path, params=_without_none(params), extensions=end
            ) as response:
                response_bodies.check_plain(response)
                if response.is_error:
                    self._raise_for_status(response_bodies.read_whole(response))
                yield response
        except (httpx.RequestError, ServerError) as error:
            raise self._explain(error, method, path) from error

    def get_json(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Fetch a JSON document, with retries. Raises as `request` does."""
        return self.decoded(self.request("GET", path, params=params, retry=True))

    def post_json(self, path: str, body: Any = None) -> Any:
        """Post a JSON document and return the answer's. Raises as `request` does."""
        return self.decoded(self.request("POST", path, json=body))

    @property
    def version(self) -> str:
        """The server's version, which is asked for once; empty where it does not say.

        Raises:
            SandboxError: What the guard raises.
        """
        if not self.known_version and not self._tells_no_version:
            self.known_version = self._ask_for_version()
        return self.known_version

    def _ask_for_version(self) -> str:
        try:
            answer = self.request("GET", "/server_info", timeout=_INFO_TIMEOUT)
            found = self.decoded(answer)
        except ServerError as error:
            # A server that did not answer, or is not ready yet, is asked again.
            self._tells_no_version = error.status in range(400, 500)
            return ""
        version = found.get("version") if isinstance(found, dict) else None
        self._tells_no_version = not isinstance(version, str)
        return version if isinstance(version, str) else ""

    def probe(self, path: str, *, timeout: float) -> ServerError | None:
        """Return why a GET of `path` does not succeed within `timeout` seconds; None if it does.

        One attempt, for those who poll. Raises only what the guard raises.
        """
        self._note_use()
        self.check()
        end = {END: self._end(timeout)}
        try:
            with self._client.stream("GET", path, timeout=timeout, extensions=end) as answer:
                response = response_bodies.read_whole(answer)
            self._raise_for_status(response)
        except (httpx.RequestError, ServerError) as error:
            self.check()
            if isinstance(error, ServerError):
                return error
            return ServerError(self._without_key(str(error) or type(error).__name__))
        return None

    def close(self) -> None:
        """Close all connections to the server. May be called more than once."""
        self._client.close()

    def _end(self, timeout: float | None = None, deadline: float = math.inf) -> float:
        """Return when a request that begins now is over."""
        now = time.monotonic()
        given = math.inf if timeout is None else now + timeout
        return min(max(now + _SHORTEST_TIMEOUT, min(given, deadline)), self.time.end)

    def _timeouts(self, read: float | None, end: float = math.inf) -> httpx.Timeout:
        read = self._read_timeout if read is None else max(read, _SHORTEST_TIMEOUT)
        pool = max(0.0, min(read, end - time.monotonic()))
        connect = min(read, _CONNECT_TIMEOUT)
        return httpx.Timeout(read, connect=connect, write=_WRITE_TIMEOUT, pool=pool)

    def _raise_for_status(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        request = response.request
        text = (
            f"{request.method} {self.host}{request.url.path} was answered with "
            f"{response.status_code} {response.reason_phrase}"
        )
        detail = self._without_key(response_bodies.error_detail(response))
        raise ServerError(f"{text}: {detail}" if detail else text, status=response.status_code)

    def _explain(self, error: Exception, method: str, path: str) -> ServerError:
        """Return the error to raise, after the guard had its say."""
        if isinstance(error, ServerError):
            self.check()
            return error
        timed_out = isinstance(error, httpx.TimeoutException)
        if timed_out and self.explain_silence is not None:
            self.explain_silence()
        if timed_out:  # the guard was asked all the time, and the caller's is over
            self.check()
        elif self._guard is not None:
            deadline = time.monotonic() + GUARD_GRACE
            while time.monotonic() < deadline:
                self._guard()
                time.sleep(0.02)
        reason = str(error) or type(error).__name__
        return ServerError(
            self._without_key(f"{method} {self.host}{path} got no answer from the server: {reason}")
        )

    def decoded(self, response: httpx.Response) -> Any:
        """Return the JSON document that an answer is.

        Raises:
            ServerError: It is none.
        """
        request = response.request
        try:
            return response_bodies.decoded(response)
        except ValueError as error:
            raise ServerError(
                f"{request.method} {self.host}{request.url.path} was answered with something that "
                f"is not JSON: {self._without_key(response.text[:200])!r}",
                status=response.status_code,
            ) from error

    def _without_key(self, text: str) -> str:
        key = self.api_key.get_secret_value() if self.api_key is not None else ""
        for spelled in (key, repr(key)[1:-1]):  # an error shows a key with a line break by its repr
            text = text.replace(spelled, "***") if spelled else text
        return text


def _without_none(params: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if params is None:
        return None
    return {name: value for name, value in params.items() if value is not None}
