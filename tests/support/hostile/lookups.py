"""Answers to the egress proxy's questions for addresses, and requests to it, that mean harm."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import strategies as st

from pytest_agent_sandbox.host import egress
from pytest_agent_sandbox.host.egress import Egress, allowed_places
from tests.support.hostile.search import search

NAME = "evil.example"
PLACES = allowed_places([f"{NAME}:80", f"{NAME}:443", "a..b:80", f"{'x' * 70}.example:80"])


def joined(*parts: tuple[int, int]) -> IPv6Address:
    """Return the address of these numbers, each of so many bits, and zeros."""
    number = bits = 0
    for part, size in parts:
        number, bits = number << size | part, bits + size
    return IPv6Address(number << (128 - bits))


def ending(prefix: str) -> Callable[[int], IPv6Address]:
    return lambda inner: IPv6Address(int(IPv6Address(prefix)) | inner)


LOCAL = (int(IPv6Address("64:ff9b:1::")) >> 80, 48)
TEREDO = (0x20010000, 32)
FAR_SERVER = (int(IPv4Address("93.184.216.34")), 32)

#: How an IPv4 address is put into an IPv6 address, by the RFCs.
WRAPPERS: dict[str, Callable[[int], IPv6Address]] = {
    "mapped": ending("::ffff:0:0"),
    "compatible": ending("::"),
    "translated": ending("::ffff:0:0:0"),
    "6to4": lambda ip: joined((0x2002, 16), (ip, 32), (7, 48)),
    "Teredo": lambda ip: joined(TEREDO, FAR_SERVER, (0, 32), (ip ^ 2**32 - 1, 32)),
    "a Teredo server": lambda ip: joined(TEREDO, (ip, 32), (0, 32), (0x7F7F7F7F, 32)),
    "NAT64": ending("64:ff9b::"),
    "local NAT64, /48": lambda ip: joined(LOCAL, (ip >> 16, 16), (0, 8), (ip % 2**16, 16)),
    "local NAT64, /56": lambda ip: joined(LOCAL, (5, 8), (ip >> 24, 8), (0, 8), (ip % 2**24, 24)),
    "local NAT64, /64": lambda ip: joined(LOCAL, (0x505, 16), (0, 8), (ip, 32)),
    "local NAT64, /96": ending("64:ff9b:1:505:5:505::"),
}

_NEAR4 = st.one_of(
    *[
        st.ip_addresses(v=4, network=net)
        for net in ("127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4")
    ],
    st.sampled_from([IPv4Address("0.0.0.0"), IPv4Address("255.255.255.255")]),
)
_NEAR6 = st.one_of(
    st.sampled_from([IPv6Address("::"), IPv6Address("::1"), IPv6Address("fd00:ec2::254")]),
    st.ip_addresses(v=6, network="fe80::/10"),
    st.ip_addresses(v=6, network="ff00::/8"),
    # Zeros in a local NAT64 are those of a longer prefix.
    st.builds(
        lambda wrap, ip: wrap(int(ip)), st.sampled_from(list(WRAPPERS.values())), _NEAR4
    ).filter(lambda address: "64:ff9b:1:" not in str(address) or int(address) & 0xFF00_0000),
)
NEAR = _NEAR4 | _NEAR6
_ANY = st.ip_addresses() | st.builds(
    lambda wrap, ip: wrap(int(ip)),
    st.sampled_from(list(WRAPPERS.values())),
    st.ip_addresses(v=4),
)

_SCOPES = st.sampled_from(["", "%1", "%lo", "%eth0"])
_TARGETS = st.sampled_from(
    [
        f"{NAME}:80",
        NAME,
        f"http://{NAME}/",
        f"http://{NAME}:443/a",
        f"http://a@{NAME}/x",
        "a..b:80",
        f"http://{NAME}:80#@127.0.0.1",
        f"http://127.0.0.1\\@{NAME}/",
        "[::1]:80",
        "http://[::1/",
        f"http://{NAME}\t/",
        "http://ÿ/",
        f"{NAME.upper()}:80",
        f"{NAME}.:80",
        "*",
        "//x",
        f"{'x' * 70}.example:80",
        "http://evil.example:port/",
        f"http://{NAME}:0/",
        "http:///",
    ]
) | st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=20)
_LINES = st.sampled_from(
    [
        "Host: a",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Proxy-Connection: x",
        "X",
        "",
        f"Host: {NAME}",
        "Content-Length: -1",
        "Connection: close",
        " folded",
        "A: \x00",
    ]
)


@st.composite
def _requests(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from(["CONNECT", "GET", "POST", "OPTIONS", "connect", "\x16\x03"]))
    lines = [f"{method} {draw(_TARGETS)} HTTP/1.1", *draw(st.lists(_LINES, max_size=3))]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + draw(st.binary(max_size=5))


#: Each: what the proxy is asked, the addresses that a name has (and whether near), their scopes.
CASES = st.tuples(
    _requests() | st.just(f"CONNECT {NAME}:80 HTTP/1.1\r\nHost: a\r\n\r\n".encode()),
    st.lists(
        st.tuples(NEAR.map(lambda a: (a, True)) | _ANY.map(lambda a: (a, False)), _SCOPES),
        max_size=5,
    ),
)


class Proxy:
    """The proxy, with a resolver that answers as told, and no way to connect anywhere."""

    def __init__(self) -> None:
        self.answers: list[tuple[object, ...]] = []
        #: The addresses that it has wanted to connect to.
        self.wanted: list[str] = []
        self.failures: list[dict[str, Any]] = []
        self._real = asyncio.open_connection

    async def look_up(self, host: str, port: int, **_: Any) -> list[tuple[object, ...]]:
        host.encode("idna")  # as the real one does, before it asks anybody
        return [(*each, (*address, port)) for *each, address in self.answers]  # type: ignore[misc]

    async def open_connection(self, *where: Any, **more: Any) -> Any:
        if "sock" in more:
            return await self._real(*where, **more)
        self.wanted.append(str(where[0]))
        raise ConnectionRefusedError("not in this test")

    async def ask(self, request: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        loop.getaddrinfo = self.look_up  # type: ignore[method-assign, assignment]
        loop.set_exception_handler(lambda _, context: self.failures.append(context))
        reader, writer = await Egress(PLACES).connect()
        writer.write(request)
        writer.write_eof()
        try:
            async with asyncio.timeout(10):
                return await reader.read(-1)
        finally:
            writer.close()
            await asyncio.sleep(0)


@contextmanager
def _proxy() -> Iterator[Proxy]:
    with pytest.MonkeyPatch.context() as patch:
        proxy = Proxy()
        patch.setattr(egress.asyncio, "open_connection", proxy.open_connection)
        yield proxy


def check(case: tuple[bytes, list[tuple[tuple[Any, bool], str]]]) -> None:
    """It wants to connect to no address of this machine, and answers whatever it is asked."""
    request, addresses = case
    with _proxy() as proxy:
        for (address, _), scope in addresses:
            is_6 = address.version == 6
            family = socket.AF_INET6 if is_6 else socket.AF_INET
            text = f"{address}{scope if is_6 else ''}"
            proxy.answers.append((family, socket.SOCK_STREAM, 6, "", (text,)))
        answer = asyncio.run(proxy.ask(request))
        assert not proxy.failures, proxy.failures
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 403 ", b"HTTP/1.1 502 ")), answer
        near = {address for (address, is_near), _ in addresses if is_near}
        for wanted in map(ip_address, proxy.wanted):
            assert wanted not in near
            assert not _leads_here(wanted)


def _leads_here(address: IPv4Address | IPv6Address) -> bool:
    """Ask the kernel, which would speak to its own address from that very address."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))  # sends nothing
        except OSError:
            return False
        mine, its = (ip_address(end()[0]) for end in (probe.getsockname, probe.getpeername))
        return mine == its


def run(seed: int, count: int) -> None:
    """Ask so many."""
    search(CASES, check, seed=seed, count=count)
