"""A TCP relay whose connections a test can cut, or hold up."""

from __future__ import annotations

import contextlib
import socket
import threading


class Relay:
    """Passes bytes between clients and one server, until told otherwise."""

    def __init__(self, host: str) -> None:
        name, _, port = host.removeprefix("http://").partition(":")
        self._target = (name, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._open.set()
        self._upgraded: set[socket.socket] = set()
        self._silent: set[socket.socket] = set()
        self.cuts = 0
        self.host = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Relay:
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._open.set()
        self.cut()
        for thread in self._threads:
            thread.join()

    def cut(self) -> None:
        """Break every connection there is now."""
        self.cuts += 1
        with self._lock:
            for end in self._sockets:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def silence(self) -> int:
        """Swallow whatever the WebSockets of now send, both ways; return how many there are."""
        with self._lock:
            self._silent |= self._upgraded & self._sockets
            return len(self._upgraded & self._sockets) // 2

    def hold(self) -> None:
        """Pass nothing on until `release`; connections are still accepted."""
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            with self._lock:
                self._sockets |= {client, server}
            self._spawn(self._pass_on, client, server)
            self._spawn(self._pass_on, server, client)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._open.wait()
                if b"\r\nupgrade: websocket\r\n" in data.lower():
                    with self._lock:
                        self._upgraded |= {source, sink}
                if source in self._silent:
                    continue
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._sockets.discard(source)
        source.close()

    def _spawn(self, target: object, *arguments: socket.socket) -> None:
        thread = threading.Thread(target=target, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()
