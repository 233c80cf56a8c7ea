"""Requests to a cluster's API server, and streams into its pods."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from http import HTTPStatus
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException
from websockets.http11 import Response
from websockets.typing import Subprotocol

from pytest_agent_sandbox.engines.kubernetes.credentials import Credentials
from pytest_agent_sandbox.engines.kubernetes.exec_stream import ExecStream
from pytest_agent_sandbox.engines.kubernetes.refusals import refusal
from pytest_agent_sandbox.errors import EngineUnavailable
from pytest_agent_sandbox.host.closing import Closing

#: Seconds for one request.
TIMEOUT = 10.0
# Seconds without an answer after which a stream is over: load balancers forget idle ones.
_HEARTBEAT = 20.0
# Newer servers close one direction of the fifth; all have the fourth.
_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_CLOSE_PATIENCE = 5.0
# Seconds for which a server may put a request off: it has too much to do.
_PATIENCE = 60.0

Answer = httpx.Response | Response


class Cluster(Closing):
    """A cluster, as one process uses it. Safe to use from several threads.

    Args:
        credentials: The way to it.

    Attributes:
        namespace: Where everything is made.
    """

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials
        self.namespace = credentials.namespace
        self._tls = credentials.tls()
        self._http = httpx.Client(
            base_url=credentials.address,
            verify=self._tls if self._tls is not None else True,
            proxy=credentials.proxy,
            timeout=TIMEOUT,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="agent-sandbox-cluster", daemon=True
        )
        self._thread.start()
        self._streams: set[ExecStream] = set()
        self._closing = threading.Event()

    @cached_property
    def description(self) -> str:
        """Which cluster it is, for people: version, address and namespace."""
        version = self.get("/version").get("gitVersion", "?")
        context = f", context {self.credentials.context}" if self.credentials.context else ""
        return (
            f"Kubernetes {version} at {self.credentials.address}{context}, namespace "
            f"{self.namespace}"
        )

    def path(self, resource: str, name: str = "", *, group: str = "") -> str:
        """Return the path of a resource of the namespace, such as `pods`."""
        base = f"/apis/{group}/v1" if group else "/api/v1"
        return f"{base}/namespaces/{self.namespace}/{resource}" + (f"/{name}" if name else "")

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Ask for an object, or a list of them."""
        return self.request("GET", path, f"read {path.rpartition('/v1/')[2] or path}", query=query)

    def request(
        self,
        method: str,
        path: str,
        what: str,
        *,
        body: object = None,
        query: Mapping[str, str] | None = None,
        kind: str = "application/json",
    ) -> dict[str, Any]:
        """Send a request.

        Args:
            method: Its HTTP method.
            path: Its path.
            what: What is asked for, as "create pod x", for messages.
            body: What is sent with it, as JSON.
            query: Its query.
            kind: The kind of JSON that the body is.

        Raises:
            ClusterRefusedError: The API server refused.
            EngineUnavailable: It does not answer.
        """
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": kind} if content is not None else {}
        until = time.monotonic() + _PATIENCE
        while True:
            with self._reaching(what):
                answer = self._http.request(
                    method,
                    path,
                    params=dict(query or {}),
                    content=content,
                    headers={**headers, **self.credentials.headers()},
                    extensions=self._extensions,
                )
            if not self._is_put_off(answer, until):
                break
        if answer.is_success:
            return dict(answer.json())
        raise refusal(what, answer.status_code, _decoded(answer), self.namespace)

    @contextmanager
    def reading(
        self, path: str, what: str, query: Mapping[str, str], *, silence: float | None
    ) -> Iterator[httpx.Response]:
        """Read an answer as it comes: a log, or what changes.

        Args:
            path: The request's path.
            what: What is read, for messages.
            query: Its query.
            silence: Seconds after which it is over if nothing comes.

        Raises:
            ClusterRefusedError: The API server refused.
            EngineUnavailable: It does not answer, or the answer breaks off.
        """
        timeout = httpx.Timeout(TIMEOUT, read=silence)
        until = time.monotonic() + _PATIENCE
        while True:
            with (
                self._reaching(what),
                self._http.stream(
                    "GET",
                    path,
                    params=dict(query),
                    headers=self.credentials.headers(),
                    extensions={**self._extensions, "timeout": timeout.as_dict()},
                ) as answer,
            ):
                if answer.is_success:
                    yield answer
                    return
                answer.read()
            if not self._is_put_off(answer, until):
                raise refusal(what, answer.status_code, _decoded(answer), self.namespace)

    def exec(self, pod: str, container: str, words: Sequence[str], *, timeout: float) -> ExecStream:
        """Start a process in a pod, and return the stream to it.

        Args:
            pod: The pod's name.
            container: Which of its containers.
            words: The process's command line. No secrets: clusters log it.
            timeout: Seconds for the stream to open.

        Raises:
            ClusterRefusedError: The API server refused.
            EngineUnavailable: It does not answer.
        """
        what = f"start a process in pod {pod}"
        url = httpx.URL(
            self.credentials.address.replace("http", "ws", 1) + self.path("pods", f"{pod}/exec"),
            params=[
                *(("command", word) for word in words),
                *(("container", container), ("stdin", "true")),
                *(("stdout", "true"), ("stderr", "true"), ("tty", "false")),
            ],
        )
        until = time.monotonic() + timeout
        with self._reaching(what):
            try:
                stream = self._opened(str(url), until)
            except InvalidStatus as error:
                body = error.response.body or b""
                raise refusal(
                    what, error.response.status_code, _parsed(body), self.namespace
                ) from None
            except (WebSocketException, OSError, TimeoutError) as error:
                raise httpx.ConnectError(str(error) or type(error).__name__) from error
        self._streams.add(stream)
        return stream

    def close(self) -> None:
        """End all streams and connections."""
        self._closing.set()
        for stream in list(self._streams):
            stream.close()
        self._http.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_PATIENCE)
        if not self._thread.is_alive():
            self._loop.close()

    @property
    def _extensions(self) -> dict[str, Any]:
        name = self.credentials.server_name
        return {"sni_hostname": name} if name else {}

    def _opened(self, url: str, until: float) -> ExecStream:
        while True:
            left = max(1.0, until - time.monotonic())
            opening = asyncio.run_coroutine_threadsafe(self._open(url, left), self._loop)
            try:
                return opening.result()
            except InvalidStatus as error:
                if not self._is_put_off(error.response, until):
                    raise

    def _is_put_off(self, answer: Answer, until: float) -> bool:
        """Wait for as long as the server asks for, where it has too much to do; tell whether so."""
        if answer.status_code != HTTPStatus.TOO_MANY_REQUESTS:
            return False
        asked = answer.headers.get("Retry-After", "")
        # All that were put off at the same time are not to come back at the same time.
        pause = (float(asked) if asked.isdecimal() else 1.0) * random.uniform(1.0, 1.5)  # noqa: S311
        if time.monotonic() + pause > until:
            return False
        return not self._closing.wait(pause)

    async def _open(self, url: str, timeout: float) -> ExecStream:
        name = self.credentials.server_name
        options: dict[str, Any] = {"server_hostname": name} if name else {}
        socket = await connect(
            url,
            ssl=self._tls,
            proxy=self.credentials.proxy or True,
            subprotocols=[Subprotocol(name) for name in _PROTOCOLS],
            additional_headers=self.credentials.headers(),
            max_size=None,
            compression=None,
            open_timeout=timeout,
            close_timeout=1,
            ping_interval=_HEARTBEAT,
            ping_timeout=_HEARTBEAT,
            **options,
        )
        return ExecStream(socket, self._loop, self._streams.discard)

    @contextmanager
    def _reaching(self, what: str) -> Iterator[None]:
        try:
            yield
        except (httpx.TransportError, InvalidHandshake) as error:
            if isinstance(error, httpx.ReadTimeout):
                reason = "it does not answer"
            else:
                reason = str(error) or type(error).__name__
            raise EngineUnavailable(
                f"The cluster at {self.credentials.address} cannot be reached to {what}: {reason}"
            ) from error
        except RuntimeError as error:
            if not self._http.is_closed:
                raise
            raise EngineUnavailable(f"The use of the cluster is over: no way to {what}") from error


def _decoded(answer: httpx.Response) -> object:
    return _parsed(answer.content)


def _parsed(body: bytes | bytearray) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
