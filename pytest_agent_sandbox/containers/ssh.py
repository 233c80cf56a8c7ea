"""Engines at the other end of ``ssh://``: reached by the machine's own ssh, as docker does it.

The docker SDK would use paramiko, which reads a part of ssh's configuration only, and puts all
connections into one, where a server allows ten.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from docker.transport import UnixHTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from pytest_agent_sandbox.errors import EngineUnavailable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: Seconds in which ssh must have reached the other machine.
CONNECT_TIMEOUT = 10
# Nobody can be asked while tests run, and what the user forwards is not for the engine's machine.
_OPTIONS = (
    "-T",
    "-a",
    "-x",
    "-oBatchMode=yes",
    "-oClearAllForwardings=yes",
    f"-oConnectTimeout={CONNECT_TIMEOUT}",
    "-oServerAliveInterval=30",
)
# Seconds that ssh gets to end by itself.
_END_GRACE = 1.0
# Characters of what ssh complained of that an error quotes.
_SHOWN = 300
# Of the engine's socket, in what a shell takes as it is.
_PATH = re.compile(r"[\w./-]*")
_DIAL = ("system", "dial-stdio")
# How ssh ends: by what is run at the other end, or by its own failure.
_NOT_FOUND = 127
_SSH_FAILED = 255


class SSHError(ConnectionError):
    """Ssh did not reach the engine; the message says why."""


def ssh_command(address: str) -> list[str]:
    """Return the command that connects its standard input and output to an engine.

    Args:
        address: The engine's: ``ssh://[user@]host[:port][/path/of/its.sock]``.

    Raises:
        EngineUnavailable: It is not of that form, or there is no ssh here.
    """
    parts = urlsplit(address)
    try:
        port, host = parts.port, parts.hostname
    except ValueError:
        port = host = None
    # What is between the slashes is for a shell at the other end.
    is_plain = _PATH.fullmatch(parts.path) and not (host or "").startswith("-")
    if not host or not is_plain or parts.password is not None or parts.query or parts.fragment:
        # A password is not repeated.
        raise EngineUnavailable(
            "The engine's address is not of the form ssh://USER@HOST:PORT. A password has no place "
            "in it: ssh goes by its keys and its agent."
        )
    program = shutil.which("ssh")
    if program is None:
        raise EngineUnavailable(
            f"The engine at {address} is reached by ssh, and there is none on the PATH: install "
            "OpenSSH's client."
        )
    # As written: ssh's own configuration may tell names apart by their case.
    host = _as_written(parts.netloc, host)
    user = ["-l", parts.username] if parts.username else []
    place = [] if port is None else ["-p", str(port)]
    path = PurePosixPath(parts.path)
    engine = [] if len(path.parts) < 2 else ["--host", f"unix://{path}"]  # noqa: PLR2004 - "/"
    return [program, *_OPTIONS, *user, *place, "--", host, "docker", *engine, *_DIAL]


def _as_written(place: str, host: str) -> str:
    start = place.lower().rfind(host)
    return place[start : start + len(host)]


class SSHAdapter(UnixHTTPAdapter):
    """What the SDK's requests go through to an engine behind ssh.

    Args:
        address: The engine's.
        timeout: Seconds to wait for its answer, where a request says nothing else.

    Raises:
        EngineUnavailable: The address is none, or there is no ssh here.
    """

    def __init__(self, address: str, timeout: int) -> None:
        self._command = ssh_command(address)
        super().__init__("http+unix:///", timeout)

    def get_connection(self, url: Any, proxies: Any = None) -> Any:  # noqa: ARG002 - of the base
        """Return the connections to the engine: the same for all addresses, as each takes long."""
        with self.pools.lock:
            pool = self.pools.get(self._command[0])
            if pool is None:
                pool = _Pool(self._command, self.timeout, self.max_pool_size)
                self.pools[self._command[0]] = pool
        return pool


class _Pool(HTTPConnectionPool):
    def __init__(self, command: list[str], timeout: float, most: int) -> None:
        super().__init__("localhost", timeout=timeout, maxsize=most)
        self._command = command

    def _new_conn(self) -> HTTPConnection:
        return _Connection(self._command, self.timeout.connect_timeout)


class _Connection(HTTPConnection):
    def __init__(self, command: list[str], timeout: Any) -> None:
        super().__init__("localhost", timeout=timeout)
        self._command = command

    def connect(self) -> None:
        """Start an ssh of its own for this connection, and do not wait for it."""
        here, there = socket.socketpair()
        with there:
            self.sock = SSHSocket(here, there, self._command)
        self.sock.settimeout(self.timeout)


class SSHSocket(socket.socket):
    """This end of what ssh carries; the process ends with it.

    Args:
        here: The one end of a pair of sockets, which this takes over.
        there: The other, which the process gets.
        command: What to run.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, here: socket.socket, there: socket.socket, command: list[str]) -> None:
        super().__init__(here.family, here.type, here.proto, fileno=here.detach())
        self._has_answered = False
        # A file: nobody has to read while ssh runs.
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this
        try:
            self._process = _run(command, there, self._complaints)
        except BaseException:
            self._complaints.close()
            super().close()
            raise

    def recv(self, *arguments: Any) -> bytes:
        """Return what has come; raise `SSHError` where ssh ended before any of it."""
        with self._telling():
            data = super().recv(*arguments)
        self._look(len(data))
        return data

    def recv_into(self, buffer: WriteableBuffer, *arguments: Any) -> int:
        """Return how much has come; raise `SSHError` where ssh ended before any of it."""
        with self._telling():
            size = super().recv_into(buffer, *arguments)
        self._look(size)
        return size

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except ConnectionError as error:
            if self._has_answered:
                raise
            raise SSHError(self._why()) from error

    def _look(self, size: int) -> None:
        if size:
            self._has_answered = True
        elif not self._has_answered:
            raise SSHError(self._why())

    def _why(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_GRACE)
        if self._complaints.closed:
            return "the connection was closed"
        self._complaints.seek(0)
        said = self._complaints.read().decode(errors="replace")
        return why_ssh_failed(said, self._process.returncode)

    def _real_close(self, *arguments: Any) -> None:
        super()._real_close(*arguments)  # type: ignore[misc] # socket's own way to end late
        self._process.terminate()
        try:
            self._process.wait(_END_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._complaints.close()


def _run(command: list[str], end: socket.socket, complaints: Any) -> subprocess.Popen[bytes]:
    # In a session of its own: Ctrl-C is for the tests, which still have to clean up.
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        return run_by_pipes(command, end, complaints, creationflags=flags)
    else:
        return subprocess.Popen(  # noqa: S603 - no shell
            command,
            stdin=end.fileno(),
            stdout=end.fileno(),
            stderr=complaints,
            start_new_session=True,
        )


def run_by_pipes(
    command: list[str], end: socket.socket, complaints: Any, *, creationflags: int = 0
) -> subprocess.Popen[bytes]:
    """Run a command that cannot be given a socket, as on Windows; threads carry what it says."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(  # noqa: S603 - no shell
        command,
        stdin=pipe,
        stdout=pipe,
        stderr=complaints,
        bufsize=0,
        creationflags=creationflags,
    )
    carried = end.dup()

    def send() -> None:
        assert process.stdin is not None
        with process.stdin as sink, suppress(OSError):
            while data := carried.recv(65536):
                sink.write(data)

    def receive() -> None:
        assert process.stdout is not None
        with process.stdout as source, suppress(OSError):
            while data := source.read(65536):
                carried.sendall(data)
        with suppress(OSError):
            carried.shutdown(socket.SHUT_RDWR)  # which ends the other, too
        sending.join()
        carried.close()

    sending = threading.Thread(target=send, name="agent-sandbox-ssh-send", daemon=True)
    receiving = threading.Thread(target=receive, name="agent-sandbox-ssh-receive", daemon=True)
    sending.start()
    receiving.start()
    return process


def why_ssh_failed(said: str, code: int | None) -> str:
    """Say in a few words why there was no answer, and what to do.

    Args:
        said: What ssh printed on its standard error.
        code: How it ended; None while it has not.
    """
    # What it warns of comes first, and is rarely the reason.
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1][-_SHOWN:] if lines else f"it ended with exit code {code}"
    text = said.lower()
    if "host key verification failed" in text or "host key for" in text:
        return (
            "ssh does not trust the other machine's host key, which is unknown or has changed: "
            "connect once with `ssh`, and compare its fingerprint"
        )
    if "permission denied" in text and "docker" in text and code != _SSH_FAILED:
        return f"ssh works, but its user may not use the engine there: {last}"
    if "permission denied" in text or "too many authentication failures" in text:
        return (
            f"ssh was refused: {last}. It cannot ask for a password or passphrase here: a key has "
            "to be in ssh's agent (`ssh-add`), or without a passphrase"
        )
    if code == _NOT_FOUND or "command not found" in text:
        return f"ssh works, but there is no docker command at the other end: {last}"
    if code == _SSH_FAILED:
        return f"ssh did not get there: {last}"
    return f"ssh works, but no engine answers at the other end: {last}"
