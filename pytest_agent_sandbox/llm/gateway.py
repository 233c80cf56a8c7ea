"""The gateway: the HTTP server on the host that every sandbox's LLM traffic goes through."""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from typing import Self

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pytest_agent_sandbox.errors import SandboxError, SettingsError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.llm.asgi import body_of, send_answer, token_of, unless_gone
from pytest_agent_sandbox.llm.connections import Connections
from pytest_agent_sandbox.llm.dialects import dialect_of
from pytest_agent_sandbox.llm.dialects.foreign import (
    foreign_dialect,
    foreign_key,
    not_spoken,
)
from pytest_agent_sandbox.llm.door import PREFIX, Entry, enter, form_of, is_below, read_body
from pytest_agent_sandbox.llm.exchange import (
    UNSPOKEN,
    Answer,
    BrokenAnswerError,
    Exchange,
    Refusal,
    Source,
    error_answer,
)
from pytest_agent_sandbox.llm.heavy import LARGE, HeavyWork, new_threads
from pytest_agent_sandbox.llm.lane import Lane
from pytest_agent_sandbox.llm.observer import Observer
from pytest_agent_sandbox.llm.pipeline import Policy, note_request, respond
from pytest_agent_sandbox.llm.room import SERVICE_BODY, LaneRoom, NoRoomError, Room
from pytest_agent_sandbox.llm.server import ServerThread


class Gateway(Closing):
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
        self._server: ServerThread | None = None
        self._connections = Connections()
        self._lanes: dict[str, Lane] = {}
        self._services: dict[str, tuple[ASGIApp, LaneRoom]] = {}
        self._room = Room()
        self._threads = new_threads()
        #: The clients that have shown each token. An agent server never closes its connections.
        self._clients: defaultdict[str, set[object]] = defaultdict(set)

    def __repr__(self) -> str:
        return f"Gateway({self._bind!r}, port={self._server and self._server.port})"

    def __enter__(self) -> Self:
        self.start()
        return self

    @property
    def port(self) -> int:
        """The port it listens on.

        Raises:
            SandboxError: The gateway was not started.
        """
        if self._server is None:
            raise SandboxError("The LLM gateway was not started.")
        return self._server.port

    def start(self) -> None:
        """Start, and return once requests are answered.

        Raises:
            SandboxError: The address cannot be listened on, or the server does not come up.
        """
        if self._server is not None:
            raise SandboxError("The LLM gateway was started before: make a new one.")
        self._server = ServerThread(
            self._serve, self._bind, self._wanted_port, self._connections.aclose
        )

    def open_lane(
        self,
        source: Source,
        name: str = "1",
        policy: Policy | None = None,
        observer: Observer | None = None,
    ) -> Lane:
        """Open a lane, with a token of its own.

        Args:
            source: Gives the answers: a `Script`, a `LiveSource`.
            name: Becomes part of the ids of answers and tool calls (`call_<name>_<call>_<index>`).
                Lanes of one test get different names, and the same ones in every run.
            policy: Decides about the lane's requests before they reach the source.
            observer: Told of each call; what it raises ends the call.

        Raises:
            SettingsError: The name cannot be part of an id.
        """
        lane = Lane(
            source,
            name,
            lambda: self.port,
            self._forget,
            policy or Policy(),
            observer,
            self._room.of_lane(),
            HeavyWork(self._threads),
        )
        self._lanes[lane.token] = lane
        return lane

    def open_service(self, application: ASGIApp) -> str:
        """Let an application answer beside the LLM; return the token that leads to it.

        Args:
            application: Gets the requests that show the token, whatever their path. ASGI's lifespan
                events are not sent.
        """
        token = secrets.token_urlsafe(32)
        self._services[token] = application, self._room.of_lane(SERVICE_BODY)
        return token

    def close_service(self, token: str) -> None:
        """Let nobody in by this token any more. May be called twice."""
        self._services.pop(token, None)
        self._forget(token)

    def close(self) -> None:
        """End at once: requests under way are cut off, lanes are closed. May be called twice."""
        self._lanes.clear()
        self._services.clear()
        if self._server is not None:
            self._server.close()

    def _forget(self, token: str) -> None:
        self._lanes.pop(token, None)
        clients = self._clients.pop(token, None)
        if clients and self._server is not None:
            self._server.hang_up(clients)

    async def _exchange(
        self, lane: Lane, request: Request, path: str, body: bytes, entry: Entry | Refusal
    ) -> Exchange:
        given = None
        if request.method == "GET":  # what asks nothing says nothing: no check reads it
            body = b""
        if isinstance(entry, Entry):
            is_read = entry.is_read
            read = await lane.heavy.do(
                lambda: read_body(body, request.headers, is_read=is_read),
                is_heavy=len(body) > LARGE,
            )
            if isinstance(read, Refusal):
                entry = read
            else:
                given, body = read
        refused = isinstance(entry, Refusal)
        if refused and len(body) > LARGE:  # it goes nowhere, and is not worth reading
            body = b""
        return Exchange(
            lane.name,
            request.method,
            path,
            request.scope["query_string"].decode("latin-1"),
            request.headers,
            body,
            form_of(path, request.headers) if refused else dialect_of(path),
            lane.record(request.method, path),
            self._connections,
            refusal=entry if isinstance(entry, Refusal) else None,
            is_free=isinstance(entry, Entry) and entry.is_free,
            given=given,
            heavy=lane.heavy,
        )

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, as an ASGI application."""
        request = Request(scope, receive)
        path = scope.get("raw_path", b"").decode("ascii", "replace")
        token = token_of(request)
        service = self._services.get(token)
        if service is not None:
            self._clients[token].add(scope.get("client"))
            await _serve_service(*service, request, send)
            return
        query = scope["query_string"].decode("latin-1")
        foreign = foreign_dialect(path, query, request.headers)
        if foreign and token not in self._lanes:
            token = foreign_key(query, request.headers)
        lane = self._lanes.get(token)
        if lane is None:
            await send_answer(_stranger(request, path, foreign), send)
            return
        self._clients[token].add(scope.get("client"))
        if not foreign and request.headers.get("upgrade", "").lower() == "websocket":
            # By this code clients know to go on without: any other they take for a failure.
            await send_answer(_error(request, path, 426, "There are no WebSockets here."), send)
            return
        if foreign:
            entry: Entry | Refusal = Refusal(UNSPOKEN, not_spoken(foreign, request.method, path))
        else:
            entry = enter(request.method, path, query, lane.policy.allow_paths)
        if isinstance(entry, Refusal) and not (foreign or is_below(path)):
            await send_answer(_error(request, path, entry.status, entry.message), send)
            return
        try:
            with lane.room.request() as room:
                body = await body_of(request, room)
                path = path.removeprefix(PREFIX)
                reading = self._exchange(lane, request, path, body, entry)
                if len(body) > LARGE:  # else nothing is waited for
                    reading = unless_gone(reading, receive)
                del body  # what is passed on was written anew
                await _answer(lane, await reading, receive, send)
        except NoRoomError as problem:
            await send_answer(_no_room(request, path, problem), send)
        except ClientDisconnect:
            pass


async def _answer(lane: Lane, exchange: Exchange, receive: Receive, send: Send) -> None:
    """Answer a request, and keep the call's record."""
    call, started = exchange.call, time.monotonic()

    async def work() -> None:
        await exchange.work(lambda: _note(lane, exchange))
        await send_answer(await respond(exchange, lane.source, lane.policy), send, exchange)
        call.duration = time.monotonic() - started

    try:
        await unless_gone(work(), receive)
    except BrokenAnswerError as problem:
        # Returning without an end makes the server cut the connection: the client sees that
        # something is missing.
        call.problem = str(problem)
    except ClientDisconnect:
        pass
    finally:
        if call.duration is None:
            call.duration = time.monotonic() - started
            call.problem = call.problem or "The client went away before its answer was complete."
        lane.answered(exchange)


def _note(lane: Lane, exchange: Exchange) -> None:
    note_request(exchange)
    if exchange.refusal is None and not lane.policy.provider_tools:
        _ = exchange.provider_tools  # looked for here, where it holds up nobody
    lane.asked(exchange)


async def _serve_service(
    application: ASGIApp, room: LaneRoom, request: Request, send: Send
) -> None:
    """Let a service answer, once the request's body is here."""
    try:
        with room.request() as body_room:
            pieces = [await body_of(request, body_room)]

            async def receive() -> Message:
                if pieces:
                    return {"type": "http.request", "body": pieces.pop(), "more_body": False}
                return await request.receive()

            await application(request.scope, receive, send)
    except NoRoomError as problem:
        await send_answer(_no_room(request, request.url.path, problem), send)
    except ClientDisconnect:
        pass


def _no_room(request: Request, path: str, problem: NoRoomError) -> Answer:
    seldom.logger(__name__).warning("The LLM gateway refused a request: %s", problem)
    answer = _error(request, path, problem.status, str(problem))
    answer.headers.append((b"retry-after", b"1"))
    return answer


def _stranger(request: Request, path: str, foreign: str) -> Answer:
    seldom.logger(__name__).warning("The LLM gateway refused %r: no valid token.", path)
    if foreign:  # after a 401, clients would blame the key
        return _error(request, path, UNSPOKEN, not_spoken(foreign, request.method, path))
    message = "The API key is none that this gateway knows, or its conversation is over."
    return _error(request, path, 401, message)


def _error(request: Request, path: str, status: int, message: str) -> Answer:
    return error_answer(form_of(path, request.headers), status, message)
