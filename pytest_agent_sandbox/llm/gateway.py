"""The gateway: the HTTP server on the host that every sandbox's LLM traffic goes through."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from pytest_agent_sandbox.errors import SandboxError, SettingsError
from pytest_agent_sandbox.llm import openai_chat
from pytest_agent_sandbox.llm.exchange import BrokenAnswerError, Exchange, LLMCall, Source
from pytest_agent_sandbox.llm.lane import Lane

_T = TypeVar("_T")

_PREFIX = "/v1"
#: Long conversations with screenshots stay well below; an endless body does not.
_LARGEST_BODY = 100 * 1024 * 1024
_START_TIMEOUT = 10.0
_CLOSE_TIMEOUT = 2.0
#: Longer than HTTP clients keep an idle connection: one must not be closed just as it is used.
_KEEP_ALIVE = 600


class Gateway:
    """An HTTP server in a thread of its own; a context manager.

    Args:
        bind: The address to listen on, and no other: the one by which the sandboxes reach it.
        port: The port; 0 takes a free one.

    Example:
        ```python
        with Gateway() as gateway:
            lane = gateway.open_lane(Script([say("Hello.")]))
            client = OpenAI(api_key=lane.token, base_url=lane.base_url("127.0.0.1"))
        ```
    """

    def __init__(self, bind: str = "127.0.0.1", port: int = 0) -> None:
        if not bind:
            raise SettingsError(
                "--sandbox-gateway-address is empty: name the address to listen on."
            )
        self._bind = bind
        self._wanted_port = port
        self._port: int | None = None
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._lanes: dict[str, Lane] = {}
        self._sources: list[Source] = []

    def __repr__(self) -> str:
        return f"Gateway({self._bind!r}, port={self._port})"

    def __enter__(self) -> Gateway:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port it listens on.

        Raises:
            SandboxError: It was not started.
        """
        if self._port is None:
            raise SandboxError("The LLM gateway was not started.")
        return self._port

    def start(self) -> None:
        """Return when requests are answered.

        Raises:
            SandboxError: The address cannot be listened on, or the server does not come up.
        """
        if self._thread is not None:
            raise SandboxError("The LLM gateway was started before: make a new one.")
        listener = _listen(self._bind, self._wanted_port)
        self._port = listener.getsockname()[1]
        self._server = server = _Server(
            uvicorn.Config(
                self._serve,
                interface="asgi3",
                loop="asyncio",
                http=_Protocol,
                ws="none",
                lifespan="off",
                # Logging belongs to the process that the gateway is a guest in.
                log_config=None,
                # A passed-on answer has the provider's own.
                date_header=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(server, listener)),
            name="agent-sandbox-gateway",
            # A test process that forgot to close it must be able to end.
            daemon=True,
        )
        self._thread.start()
        deadline = time.monotonic() + _START_TIMEOUT
        while not server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.close()
                raise SandboxError(f"The LLM gateway on {self._bind}:{self._port} did not start.")
            time.sleep(0.002)

    def open_lane(self, source: Source, name: str = "1") -> Lane:
        """A new way in, with a token of its own.

        Args:
            source: Where the answers come from: a `Script`, a `LiveUpstream`.
            name: Becomes part of the ids of answers and tool calls (`call_<name>_<call>_<index>`).
                Lanes of one test get different names, and the same ones in every run.

        Raises:
            SettingsError: The name is not usable in an id.
        """
        lane = Lane(source, name, lambda: self.port, self._forget)
        self._lanes[lane.token] = lane
        if not any(known is source for known in self._sources):
            self._sources.append(source)
        return lane

    def close(self) -> None:
        """End at once: requests under way are cut off, lanes are closed. May be called twice."""
        self._lanes.clear()
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(_CLOSE_TIMEOUT)
        if self._thread.is_alive():
            logging.getLogger(__name__).warning("The LLM gateway's thread has not ended.")

    def _forget(self, token: str) -> None:
        self._lanes.pop(token, None)

    async def _run(self, server: _Server, listener: socket.socket) -> None:
        try:
            with listener:
                await server.serve(sockets=[listener])
        finally:
            for source in self._sources:
                await source.aclose()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        request = Request(scope, receive)
        lane = self._lanes.get(_token_of(request))
        path = scope.get("raw_path", b"").decode("ascii", "replace")
        if lane is None:
            await _stranger(path)(scope, receive, send)
            return
        refusal = _refusal(request.method, path, scope["path"])
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        try:
            body = await _body_of(request)
        except ClientDisconnect:
            return
        if body is None:
            await _error(413, "The request's body is over 100 MB.")(scope, receive, send)
            return
        path = path.removeprefix(_PREFIX)
        started = time.monotonic()
        call = lane.record(request.method, path)
        exchange = Exchange(
            lane.name,
            request.method,
            path,
            scope["query_string"].decode("latin-1"),
            request.headers,
            body,
            call,
        )
        try:
            response = await _unless_gone(lane.source.answer(exchange), receive)
            await response(scope, receive, _noting(call, started, send))
        except BrokenAnswerError as problem:
            # Returning without an end makes the server cut the connection: the client sees that
            # something is missing.
            call.problem = str(problem)
        except ClientDisconnect:
            pass
        if call.duration is None:
            call.duration = time.monotonic() - started
            call.problem = call.problem or "The client went away before its answer was complete."


class _Protocol(H11Protocol):
    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        # Uvicorn's own switch empties a logger that other servers in this process may use.
        self.access_log = False


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Nobody waits for the answers under way any more; each sees its client gone, and ends.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


def _listen(bind: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    try:
        # Bound here, not by uvicorn, which would end the process when it cannot.
        listener = socket.create_server((bind, port), family=family, backlog=2048)
    except (OSError, OverflowError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise SandboxError(
            f"The LLM gateway cannot listen on {bind} port {port}: {reason}. Set "
            "--sandbox-gateway-address to an address of this machine that its containers reach."
        ) from problem
    # asyncio sends small packets at once only on sockets that say they are TCP, and those accepted
    # here inherit what the listener says. Without it, each answer takes 40 ms more.
    return socket.socket(family, listener.type, socket.IPPROTO_TCP, fileno=listener.detach())


def _token_of(request: Request) -> str:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    return request.headers.get("x-api-key", "")


def _refusal(method: str, path: str, decoded_path: str) -> Response | None:
    if not path.startswith(f"{_PREFIX}/"):
        return _error(404, f"{method} {path} is not here: the base URL ends with /v1.")
    if {"..", "."} & set(decoded_path.split("/")):
        return _error(400, "The path holds dots that would lead out of it.")
    return None


def _stranger(path: str) -> Response:
    logging.getLogger(__name__).warning("The LLM gateway refused %r: no valid token.", path)
    return _error(401, "The API key is none that this gateway knows, or its conversation is over.")


def _error(status: int, message: str) -> Response:
    body = openai_chat.encode(openai_chat.error_body(status, message))
    return Response(body, status, media_type="application/json")


async def _body_of(request: Request) -> bytes | None:
    """The whole body; None when it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BODY:
            return None
    return bytes(body)


async def _unless_gone(work: Coroutine[Any, Any, _T], receive: Receive) -> _T:
    """The result of the work, which is cancelled when the client goes away.

    Raises:
        ClientDisconnect: It did.
    """

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


def _noting(call: LLMCall, started: float, send: Send) -> Send:
    """A `send` that keeps the call's record."""

    async def noting(message: Message) -> None:
        if message["type"] == "http.response.start":
            call.status = message["status"]
        await send(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            call.duration = time.monotonic() - started

    return noting
