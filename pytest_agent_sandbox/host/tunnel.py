"""The way into a container over a program in it, and the ways out that it may have."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from pytest_agent_sandbox.errors import SandboxStartFailed, SettingsError
from pytest_agent_sandbox.host import multiplexer, tunnel_inside
from pytest_agent_sandbox.host.closing import Closing
from pytest_agent_sandbox.host.multiplexer import Connect, Ends, Inside, Multiplexer, TunnelError
from pytest_agent_sandbox.host.program import Program, RunningContainer
from pytest_agent_sandbox.host.resumed_program import ResumedProgram

_LOOPBACK = "127.0.0.1"
# Seconds for the container's end to answer: Python has to start there, maybe beside many others.
_PATIENCE = 30.0
_CLOSE_PATIENCE = 5.0
# Seconds for connections that have just come to be closed: all of them, and a single step.
_SETTLE_PATIENCE = 1.0
_STEP_PATIENCE = 0.05
_POLL = 0.2


class _Carrying(NamedTuple):
    loop: asyncio.AbstractEventLoop
    task: asyncio.Task[None]
    ends: Multiplexer


class Tunnel(Closing):
    """A way for connections into a container and out of it, over a process that runs there.

    The process there talks over whatever has started it, so this works with every engine that can
    start a process in a container, wherever it runs.

    An isolated container itself has no network: no interface but its own
    loopback, so there is no address of this machine, of other containers or of the internet that it
    could even try. That is looked after in the container before the first connection.

    Args:
        container: The container.
        ports: Servers in the container by port, and the ports of 127.0.0.1 here on which they are
            to be reached; None lets the system choose.
        outwards: Addresses of the container's loopback, each with a port, and what makes a
            connection for whoever connects to them there; it may raise `OSError` to refuse.
        on_end: Called, in a thread of the tunnel's, when it ends before it is closed, with the
            reason.
        is_isolated: Whether the container is to have no network.
        is_resumed: Whether the stream is taken up again where it breaks off.

    Attributes:
        ports: The ports of 127.0.0.1 on which the container's are reached.
        unheard: Why nothing listens, by the addresses outwards where that could not be, such as a
            port below 1024 where the kernel lets nobody; those of 127.0.0.1 are never among them.

    Raises:
        SandboxStartFailed: It is isolated and has a network, or there is no Python in it.
        SettingsError: A port of this machine is taken.
        SandboxError: The engine refused, or does not answer.
    """

    def __init__(
        self,
        container: RunningContainer,
        ports: Mapping[int, int | None],
        outwards: Mapping[Inside, Connect],
        on_end: Callable[[str], object],
        *,
        is_isolated: bool = True,
        is_resumed: bool = False,
    ) -> None:
        self._outwards = list(outwards.values())
        self._on_end = on_end
        self._closing = threading.Event()
        self._program = _program(container, list(outwards), is_isolated, is_resumed)
        self._servers: dict[int, socket.socket] = {}
        self._listening: list[asyncio.Server] = []
        self._is_over = threading.Event()
        self._begun: Future[_Carrying] = Future()
        self._threads: list[threading.Thread] = []
        try:
            self.unheard = self._wait_for_the_other_end(list(outwards))
            self._servers = _listen(ports)
            self.ports = {port: end.getsockname()[1] for port, end in self._servers.items()}
            for name, target in (("carry", self._carry), ("read", self._read)):
                title = f"agent-sandbox-tunnel-{name}"
                self._threads.append(threading.Thread(target=target, name=title, daemon=True))
                self._threads[-1].start()
            self._begun.result()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise SandboxStartFailed(
                    f"The way into the container was not made: {error}"
                ) from error
            raise

    def close(self) -> None:
        """End it, and all connections; may be called more than once, and at any time."""
        self._closing.set()
        if self._threads:
            self._stop()
        self._program.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(_CLOSE_PATIENCE)
        # Only now: the loop would fail that finds a socket of its own closed.
        for server in self._servers.values():
            server.close()

    def _wait_for_the_other_end(self, places: Sequence[Inside]) -> dict[Inside, str]:
        try:
            told = json.loads(self._program.read_line(_PATIENCE))
            problems = told["problems"]
            unheard = {places[int(number)]: why for number, why in told["unheard"].items()}
        except (OSError, ValueError, LookupError) as error:
            reason = self._program.why_gone(error)
            raise SandboxStartFailed(f"The way into the container was not made: {reason}") from None
        if problems:
            raise SandboxStartFailed(
                f"The container was to be isolated, and is not: {'; '.join(problems)}."
            )
        for (address, port), why in unheard.items():
            if address == _LOOPBACK:
                raise SandboxStartFailed(
                    f"The way into the container was not made: port {port} there: {why}"
                )
        if isinstance(self._program, ResumedProgram):
            self._program.begin_stream()
        self._program.wait_forever()
        return unheard

    def _carry(self) -> None:
        """Do everything but reading, in a thread of its own."""
        try:
            with asyncio.Runner() as runner:
                try:
                    runner.run(self._serve())
                finally:
                    runner.run(self._stop_listening())
        except BaseException as error:
            if not self._begun.done():
                self._begun.set_exception(error)
            elif isinstance(error, OSError):
                self._ended(str(error))
            elif not isinstance(error, asyncio.CancelledError):  # closed, or the reader tells why
                raise
        finally:
            self._is_over.set()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        with ThreadPoolExecutor(1, "agent-sandbox-tunnel-write") as writing:

            async def send(data: bytes) -> None:
                await loop.run_in_executor(writing, self._program.send, data)

            ends = Multiplexer(send, self._connect, 1)
            for port, server in self._servers.items():
                accept = partial(ends.accept, port)
                self._listening.append(await asyncio.start_server(accept, sock=server))
            self._begun.set_result(_Carrying(loop, task, ends))
            try:
                await ends.run()
            finally:
                self._program.close()  # which ends what is being sent

    async def _stop_listening(self) -> None:
        """Close what listens, once the connections that have just come are closed.

        asyncio takes a connection in several steps, and forgets to close the one in whose midst
        what listens is closed, or a task is cancelled before it has begun.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + _SETTLE_PATIENCE
        while loop.time() < until:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if not others or not (await asyncio.wait(others, timeout=_STEP_PATIENCE))[0]:
                break
        for listening in self._listening:
            listening.close()
        await asyncio.sleep(0)  # connections are closed a turn later

    def _stop(self) -> None:
        # Each step raises if it comes too late: the loop never began, or has ended already.
        with suppress(Exception, asyncio.CancelledError):
            carrying = self._begun.result()
            carrying.loop.call_soon_threadsafe(carrying.task.cancel)

    def _read(self) -> None:
        """Read in a thread of its own: asyncio cannot wait for the engine's connection."""
        try:
            carrying = self._begun.result()
        except BaseException:  # noqa: BLE001 - who makes the tunnel gets it
            return
        reason = "its process in the container has ended"

        def feed(data: bytes) -> None:
            nonlocal reason
            try:
                carrying.ends.feed(data)
            except TunnelError as error:
                reason = f"what is in the container has broken it: {error}"
                carrying.task.cancel()
            is_fed.set()

        is_fed = threading.Event()
        try:
            while not self._is_over.is_set():
                data = self._program.read()
                # One after the other: nobody can send more than is taken.
                is_fed.clear()
                carrying.loop.call_soon_threadsafe(feed, data)
                while not is_fed.wait(_POLL) and not self._is_over.is_set():
                    pass
        except ConnectionAbortedError as error:  # nothing is known of the process
            reason = str(error)
        except (OSError, RuntimeError):  # the process's end; the loop's
            pass
        self._ended(reason)
        self._stop()

    def _ended(self, reason: str) -> None:
        if not self._closing.is_set():
            self._closing.set()
            self._on_end(reason)

    async def _connect(self, number: int) -> Ends:
        if number >= len(self._outwards):
            raise ConnectionRefusedError(f"nothing has the number {number}")
        return await self._outwards[number]()


def _program(
    container: RunningContainer, places: list[Inside], is_isolated: bool, is_resumed: bool
) -> Program:
    if is_resumed:
        return ResumedProgram(container, places, is_isolated, _PATIENCE)
    modules = [multiplexer, tunnel_inside]
    return container.start_program("tunnel", modules, [places, is_isolated], patience=_PATIENCE)


def _listen(ports: Mapping[int, int | None]) -> dict[int, socket.socket]:
    servers: dict[int, socket.socket] = {}
    for inner, outer in ports.items():
        try:
            servers[inner] = socket.create_server((_LOOPBACK, outer or 0))
        except OSError as error:
            for server in servers.values():
                server.close()
            if outer is None:
                raise SandboxStartFailed(f"No port can be listened on here: {error}") from error
            raise SettingsError(f"port {outer} of 127.0.0.1 is taken: {error.strerror}") from error
    return servers
