"""The proxy that leads out of a container without a network, to the places that are allowed."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from urllib.parse import urlsplit

import h11

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.host.addresses import why_near
from pytest_agent_sandbox.host.host_route import CONTAINER_HOST_NAME, host_in_url
from pytest_agent_sandbox.host.multiplexer import Ends

_PLACE = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")
_HIGHEST_PORT = 65535
_CHUNK = 64 * 1024
# Seconds for a client to say what it wants, and for a place to answer.
_PATIENCE = 30.0
# The most places that are counted by name: programs may invent any number of them.
_MOST_NAMES = 100
_LONGEST_NAME = 260  # DNS knows no longer ones
_OTHERS = "others"
# The most connections of one sandbox at a time.
_MOST_AT_ONCE = 200
_LOOPBACK = "127.0.0.1"
_FORBIDDEN, _BAD_GATEWAY, _BAD_REQUEST = 403, 502, 400
_REASONS = {_FORBIDDEN: "Forbidden", _BAD_GATEWAY: "Bad Gateway", _BAD_REQUEST: "Bad Request"}
#: The most places that are told; a sandbox may ask for any number of them.
_MOST_PLACES = 10


def allowed_places(places: Iterable[str]) -> frozenset[str]:
    """Return the places in the form in which they are compared.

    Args:
        places: Such as `github.com:443`.

    Raises:
        SettingsError: One is not of that form.
    """
    found = set()
    for place in places:
        parts = _PLACE.fullmatch(place)
        if parts is None or not 0 < int(parts["port"]) <= _HIGHEST_PORT:
            raise SettingsError(
                f"allow: {place!r} is not of the form host:port, such as github.com:443"
            )
        found.add(_place(parts["host"], int(parts["port"])))
    return frozenset(found)


class Egress:
    """The way out of one container: it makes connections to allowed places, and counts.

    Names are looked up on this machine, whose own loopback is called `host.docker.internal`. It
    has no address by which it is reached: a `Tunnel` calls `connect` for its
    HTTP proxy, and `reach` for a single place, whatever is spoken there.

    Args:
        places: The allowed ones, as `allowed_places` returns them.

    Attributes:
        allowed: How often which place was asked for that is allowed.
        refused: The same of those that are not.
        failed: Why places that are allowed could not be reached, by their names.
    """

    def __init__(self, places: frozenset[str]) -> None:
        self._places = places
        self.allowed: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.failed: dict[str, str] = {}
        self._serving: set[asyncio.Task[None]] = set()

    def forget(self) -> None:
        """Begin to count anew."""
        self.allowed = Counter()
        self.refused = Counter()
        self.failed = {}

    async def reach(self, host: str, port: int) -> Ends:
        """Connect to a place, for who connects to its name in the container, and count.

        Raises:
            OSError: It is not allowed, or cannot be reached.
        """
        name = _place(host, port)
        if name not in self._places:
            _count(self.refused, name)
            raise ConnectionRefusedError(f"{name} is not allowed")
        _count(self.allowed, name)
        try:
            async with asyncio.timeout(_PATIENCE):
                return await _reach((host, port))
        except (OSError, UnicodeError) as error:  # the last: a name that DNS has not
            self.failed[name] = str(error) or f"no answer within {_PATIENCE:.0f} s"
            raise ConnectionRefusedError(self.failed[name]) from error

    async def connect(self) -> Ends:
        """Open a connection to the proxy, in this thread's event loop."""
        if len(self._serving) >= _MOST_AT_ONCE:
            raise ConnectionRefusedError("too many at once")
        near, far = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=far)
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._serving.discard)
        return await asyncio.open_connection(sock=near)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                wanted = await _first_request(reader)
            if wanted is None:
                await _answer(writer, _BAD_REQUEST, "this is an HTTP proxy")
                return
            await self._lead(*wanted, reader, writer)
        except (OSError, TimeoutError):
            return  # the client has gone, or says nothing
        finally:
            writer.close()

    async def _lead(
        self,
        place: tuple[str, int],
        begin: bytes,
        is_tunnel: bool,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        name = _place(*place)
        if name not in self._places:
            _count(self.refused, name)
            await _answer(
                writer,
                _FORBIDDEN,
                f"this sandbox may not reach {name}; sandbox_allow = {name} would let it",
            )
            return
        _count(self.allowed, name)
        try:
            async with asyncio.timeout(_PATIENCE):
                far_reader, far_writer = await _reach(place)
        except (OSError, TimeoutError, UnicodeError) as error:  # the last: a name that DNS has not
            self.failed[name] = str(error) or f"no answer within {_PATIENCE:.0f} s"
            await _answer(writer, _BAD_GATEWAY, f"{name} cannot be reached: {self.failed[name]}")
            return
        try:
            if is_tunnel:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            far_writer.write(begin)
            await _splice((reader, writer), (far_reader, far_writer))
        finally:
            far_writer.close()


async def _first_request(
    reader: asyncio.StreamReader,
) -> tuple[tuple[str, int], bytes, bool] | None:
    """Return where a client wants to go, what to send there first, and if it wants a tunnel."""
    connection = h11.Connection(h11.SERVER)
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                data = await reader.read(_CHUNK)
                if not data:
                    return None
                connection.receive_data(data)
            elif isinstance(event, h11.Request):
                return _wanted(event, connection.trailing_data[0])
            else:
                return None
    except (h11.RemoteProtocolError, ValueError):
        return None


def _wanted(request: h11.Request, rest: bytes) -> tuple[tuple[str, int], bytes, bool] | None:
    target = request.target.decode("ascii", "replace")
    if request.method == b"CONNECT":
        parts = _PLACE.fullmatch(target)
        return ((parts["host"].strip("[]"), int(parts["port"])), rest, True) if parts else None
    url = urlsplit(target)
    if url.scheme != "http" or not url.hostname:
        return None
    rest_of_it = target[target.index("//") + 2 + len(url.netloc) :].partition("#")[0]
    path = rest_of_it if rest_of_it.startswith("/") else f"/{rest_of_it}"
    # One request for each connection: the next one may want to go elsewhere.
    hop = {b"connection", b"proxy-connection", b"keep-alive", b"proxy-authorization"}
    lines = [request.method + b" " + path.encode("ascii", "replace") + b" HTTP/1.1"]
    lines += [
        name + b": " + value
        for name, value in request.headers.raw_items()
        if name.lower() not in hop
    ]
    begin = b"\r\n".join([*lines, b"Connection: close", b"", b""])
    return (url.hostname, url.port or 80), begin + rest, False


async def _answer(writer: asyncio.StreamWriter, status: int, words: str) -> None:
    body = f"agent-sandbox: {words}\n".encode()
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()


async def _splice(client: Ends, far: Ends) -> None:
    """Copy both ways; once one way has ended, the other has only some time left."""
    both = {
        asyncio.ensure_future(_copy(client[0], far[1])),
        asyncio.ensure_future(_copy(far[0], client[1])),
    }
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(both, timeout=_PATIENCE)
    finally:
        for copying in both:
            copying.cancel()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy to the end, and pass that on; a connection that breaks is one that ends."""
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()


async def _reach(place: tuple[str, int]) -> Ends:
    """Connect to a place; a name does not lead to this machine, or to what is linked to it.

    A name is looked up once: what is connected to is the address that was looked at.

    Raises:
        OSError: It cannot be reached, or its name means an address of that kind.
    """
    host, port = place
    if host.lower() == CONTAINER_HOST_NAME:
        return await asyncio.open_connection(_LOOPBACK, port)
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    problem = OSError("it has no address")
    for *_, address in found:
        number = ipaddress.ip_address(str(address[0]).partition("%")[0])
        if not _is_number(host) and (reason := why_near(number)):
            problem = OSError(
                f"its name means {number}, {reason}, which has to be allowed itself; this machine "
                f"is {CONTAINER_HOST_NAME}"
            )
            continue
        try:
            return await asyncio.open_connection(str(number), port)
        except OSError as error:
            problem = error
    raise problem


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _count(counter: Counter[str], name: str) -> None:
    is_kept = name in counter or (len(counter) < _MOST_NAMES and len(name) <= _LONGEST_NAME)
    counter[name if is_kept else _OTHERS] += 1


def _place(host: str, port: int) -> str:
    return f"{host_in_url(host.strip('[]').lower())}:{port}"


def told_of(egress: Egress) -> dict[str, str]:
    """Return what a report says of the places that were asked for."""
    told = {"connected to": counted(egress.allowed), "was refused": counted(egress.refused)}
    why = [f"{place} ({reason})" for place, reason in [*egress.failed.items()][:_MOST_PLACES]]
    return {
        title: words
        for title, words in (*told.items(), ("could not reach", ", ".join(why)))
        if words
    }


def counted(places: Mapping[str, int]) -> str:
    """Name the places that were asked for most, each with how often, and count the others."""
    often = sorted(places.items(), key=lambda item: -item[1])
    told = [
        place if count == 1 else f"{place} ({count} times)" for place, count in often[:_MOST_PLACES]
    ]
    return ", ".join(told + [f"{len(often) - len(told)} more"] * (len(often) > len(told)))
