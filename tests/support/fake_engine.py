"""Engines that misbehave: on loopback, in a thread, for the time of a ``with`` statement."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator

VERSION = {"Version": "99.1.0", "ApiVersion": "1.41", "Os": "linux", "Arch": "arm64"}


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket, bytes], bool]) -> Iterator[str]:
    """A server that hands each request's head to a function; its address, as of DOCKER_HOST.

    The function answers on the socket, and returns whether the connection is to be closed: if
    not, the client hangs until the server ends.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65536)
            if answer(connection, head):
                connection.close()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connections.append(connection)
                thread = threading.Thread(target=serve, args=(connection,))
                threads.append(thread)
                thread.start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        _close(listener)
        acceptor.join()
        for connection in connections:
            _close(connection)
        for thread in threads:
            thread.join()


def reply(connection: socket.socket, body: object) -> bool:
    """Sends a JSON document; for the end of a `serving` function."""
    content = json.dumps(body).encode()
    connection.sendall(
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(content), content)
    )
    return True


class EngineProxy:
    """Stands between a client and the real engine's socket, and can be cut.

    Args:
        path: The engine's Unix socket.
        host: The address to listen on; any but 127.0.0.1 counts as another machine's.
    """

    def __init__(self, path: str, host: str = "127.0.0.1") -> None:
        self._path = path
        self._listener = socket.create_server((host, 0))
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self.address = f"tcp://{host}:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """Break all connections there are; new ones are served."""
        for end in self._sockets:
            _close(end)

    def close(self) -> None:
        """Be gone, as an engine that was stopped."""
        _close(self._listener)
        self._threads[0].join()
        self.cut()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                engine = socket.socket(socket.AF_UNIX)
                engine.connect(self._path)
                self._sockets += [client, engine]
                for source, target in ((client, engine), (engine, client)):
                    thread = threading.Thread(target=self._pump, args=(source, target))
                    self._threads.append(thread)
                    thread.start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        _close(source)
        _close(target)


def _close(end: socket.socket) -> None:
    # Closing alone does not wake up a thread that is blocked on the socket.
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
