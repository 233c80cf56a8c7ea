"""An ASGI application served from a thread, as a guest in a process that has other work to do."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host import seldom
from pytest_agent_sandbox.llm import crowd

#: Seconds.
_START_TIMEOUT = 10.0
_CLOSE_TIMEOUT = 2.0
#: Connections that are accepted before the first of them is looked at.
_AT_ONCE = 64
#: Those that wait for that.
_WAITING = 2048
#: Longer than HTTP clients keep an idle connection: one must not be closed just as it is used.
_KEEP_ALIVE = 600


class ServerThread:
    """A server that answers from its construction to `close`.

    Args:
        application: The application to serve.
        bind: The address to listen on, and no other.
        port: The port; 0 takes a free one.
        at_end: Called on the server's event loop when it has stopped.

    Raises:
        SandboxError: The address cannot be listened on, or the server does not come up.
    """

    def __init__(
        self,
        application: ASGIApp,
        bind: str,
        port: int,
        at_end: Callable[[], Awaitable[None]],
    ) -> None:
        self._listener = _listen(bind, port)
        self.port: int = self._listener.getsockname()[1]
        self._at_end = at_end
        self._server = _Server(
            uvicorn.Config(
                application,
                interface="asgi3",
                loop="asyncio",
                http=_Protocol,
                ws="none",
                lifespan="off",
                # Logging belongs to the process.
                log_config=None,
                # An answer that is passed on has the provider's own headers.
                date_header=False,
                server_header=False,
                proxy_headers=False,
                backlog=_AT_ONCE,
                timeout_keep_alive=_KEEP_ALIVE,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run()),
            name="agent-sandbox-gateway",
            # A process that forgot to close it must be able to end.
            daemon=True,
        )
        self._thread.start()
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.close()
                raise SandboxError(f"The LLM gateway on {bind} port {self.port} did not start.")
            time.sleep(0.002)
        # asyncio has taken the number that it accepts at once for that of those who may wait.
        with suppress(OSError):
            self._listener.listen(_WAITING)

    def close(self) -> None:
        """End at once: requests under way are cut off. May be called twice."""
        self._server.should_exit = True
        self._thread.join(_CLOSE_TIMEOUT)
        if self._thread.is_alive():
            seldom.logger(__name__).warning("The LLM gateway's thread has not ended.")

    def hang_up(self, clients: Collection[object]) -> None:
        """Close the connections of these clients, as soon as they have their answers.

        Args:
            clients: The clients as in ASGI's `scope["client"]`.
        """
        with suppress(RuntimeError):  # the loop has ended, and all connections with it
            self._loop.call_soon_threadsafe(self._hang_up, clients)

    def _hang_up(self, clients: Collection[object]) -> None:
        for connection in list(self._server.server_state.connections):
            if isinstance(connection, _Protocol) and connection.client in clients:
                connection.hang_up()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            with self._listener:
                await self._server.serve(sockets=[self._listener])
        finally:
            await self._at_end()


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Nobody waits for the answers under way any more; each sees its client gone, and ends.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


class _Protocol(H11Protocol):
    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        # Uvicorn's own switch empties a logger that other servers in this process may use.
        self.access_log = False
        # Uvicorn's own belongs to other servers in this process too, which configure it. What is
        # said of this one, sandboxes decide.
        self.logger = seldom.logger(__name__)
        self.since = crowd.now()

    @property
    def is_idle(self) -> bool:
        """Whether no answer is under way."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; where there are too many, close one."""
        super().connection_made(transport)
        guests = [
            each
            for each in self.connections
            if isinstance(each, _Protocol) and not each.transport.is_closing()
        ]
        if len(guests) > crowd.most_connections():
            seldom.logger(__name__).warning("The LLM gateway has too many connections.")
            (crowd.superfluous(guests) or self).transport.abort()

    def on_response_complete(self) -> None:
        """Note that it was of use."""
        self.since = crowd.now()
        super().on_response_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: the application itself answers a client that asks for WebSockets."""

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; an answer that is under way is cut off, not sent after it."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def hang_up(self) -> None:
        """Close the connection once nothing is under way on it."""
        if self.is_idle:
            self.transport.close()
        else:
            self.cycle.keep_alive = False


def _listen(bind: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    try:
        # Bound here, not by uvicorn, which would end the process when it cannot.
        listener = socket.create_server((bind, port), family=family, backlog=_WAITING)
    except (OSError, OverflowError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise SandboxError(
            f"The LLM gateway cannot listen on {bind} port {port}: {reason}. Set "
            "--sandbox-gateway-address to an address of this machine that its containers reach."
        ) from problem
    # asyncio sends small packets at once only on sockets that say they are TCP, and those accepted
    # here inherit what the listener says. Without it, each answer takes 40 ms more.
    return socket.socket(family, listener.type, socket.IPPROTO_TCP, fileno=listener.detach())
