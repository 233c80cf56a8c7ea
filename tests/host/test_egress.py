"""The proxy out of a container: what it lets through, what it refuses, and what it counts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pytest_agent_sandbox.errors import SettingsError
from pytest_agent_sandbox.host.egress import Egress, allowed_places


class Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"{self.command} {self.path} {sorted(self.headers)}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))[::-1]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def ask() -> Iterator[Callable[[Egress, bytes], bytes]]:
    """Sends bytes to the proxy and returns all that it answers."""

    async def talk(egress: Egress, sent: bytes) -> bytes:
        reader, writer = await egress.connect()
        writer.write(sent)
        try:
            async with asyncio.timeout(10):
                return await reader.read(-1)
        finally:
            writer.close()
            await asyncio.sleep(0)

    with asyncio.Runner(debug=True) as runner:
        yield lambda egress, sent: runner.run(talk(egress, sent))


Ask = Callable[[Egress, bytes], bytes]


def test_a_tunnel_to_an_allowed_place(ask: Ask, place: str) -> None:
    egress = Egress(allowed_places([place]))
    inner = b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n"
    answer = ask(egress, f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode() + inner)
    assert answer.startswith(b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.0 200 OK")
    assert b"GET /x" in answer
    assert egress.allowed == {place: 1}
    assert not egress.refused


def test_a_request_to_an_allowed_place(ask: Ask, place: str) -> None:
    egress = Egress(allowed_places([place.upper()]))
    head = f"GET http://{place}/x?y=1 HTTP/1.1\r\nHost: {place}\r\nProxy-Connection: keep-alive\r\n"
    answer = ask(egress, f"{head}Accept: a\r\n\r\n".encode())
    assert answer.endswith(b"GET /x?y=1 ['Accept', 'Connection', 'Host']")
    body = b"0123456789" * 50_000
    head = f"POST http://{place} HTTP/1.1\r\nHost: {place}\r\nContent-Length: {len(body)}\r\n\r\n"
    assert ask(egress, head.encode() + body).endswith(body[::-1])
    assert egress.allowed == {place: 2}
    egress.forget()
    assert not egress.allowed


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("CONNECT github.com:443 HTTP/1.1", "github.com:443"),
        ("CONNECT GITHUB.com:443 HTTP/1.1", "github.com:443"),
        ("GET http://example.com/x HTTP/1.1", "example.com:80"),
        ("GET http://169.254.169.254/latest HTTP/1.1", "169.254.169.254:80"),
        ("CONNECT [::1]:22 HTTP/1.1", "[::1]:22"),
        ("CONNECT 127.0.0.1:1 HTTP/1.1", "127.0.0.1:1"),
        ("GET http://user@evil.example:81/@127.0.0.1:80 HTTP/1.1", "evil.example:81"),
    ],
)
def test_what_is_not_allowed(ask: Ask, place: str, line: str, name: str) -> None:
    egress = Egress(allowed_places([place, "localhost:80"]))
    answer = ask(egress, f"{line}\r\nHost: {place}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert f"this sandbox may not reach {name}; sandbox_allow = {name} would".encode() in answer
    assert egress.refused == {name: 1}
    assert not egress.allowed


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:99999999 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://a:port/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://[/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET " + b"a" * 200_000,
    ],
)
def test_what_is_no_request_to_a_proxy(ask: Ask, sent: bytes) -> None:
    egress = Egress(frozenset())
    assert ask(egress, sent).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert not egress.refused


def test_a_name_does_not_lead_to_this_machine(ask: Ask, place: str) -> None:
    port = place.partition(":")[2]
    egress = Egress(allowed_places([f"localhost:{port}", f"host.docker.internal:{port}"]))
    answer = ask(egress, f"GET http://localhost:{port}/ HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway")
    assert b"its name means " in answer
    head = f"GET http://host.docker.internal:{port}?a=1#b HTTP/1.1\r\nHost: a\r\n\r\n"
    assert b"GET /?a=1 " in ask(egress, head.encode())


Resolve = Callable[[str, list[str]], list[str]]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Gives a name these addresses; returns the names that are looked up from then on."""
    real = socket.getaddrinfo

    def known(name: str, numbers: list[str]) -> list[str]:
        asked = []

        def look_up(host: str, port: int, *rest: int, **more: int) -> list[tuple[object, ...]]:
            if host != name:
                return [*real(host, port, *rest, **more)]
            asked.append(host)
            found = [real(number, port, type=socket.SOCK_STREAM) for number in numbers]
            return [each for of_one in found for each in of_one]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        return asked

    return known


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("127.0.0.1", "this machine's loopback"),
        ("::ffff:127.0.0.1", "this machine's loopback"),
        ("::ffff:169.254.169.254", "a link-local address"),
        ("::ffff:0.0.0.0", "this machine's loopback"),
        ("2002:7f00:1::", "this machine's loopback"),
        ("2001:0:5db8:d822:0:ffff:80ff:fffe", "this machine's loopback"),
        ("64:ff9b::169.254.169.254", "a link-local address"),
        ("64:ff9b:1::169.254.169.254", "a link-local address"),
        ("fd00:ec2::254", "a cloud's metadata service"),
        ("ff02::1%1", "an address of many"),
    ],
)
def test_an_allowed_name_does_not_lead_to_this_machine(
    ask: Ask, place: str, resolve: Resolve, number: str, reason: str
) -> None:
    """SECURITY.md: whatever form it has, "the name is not followed there"."""
    name = f"evil.example:{place.partition(':')[2]}"
    resolve("evil.example", [number])
    egress = Egress(allowed_places([name]))
    answer = ask(egress, f"CONNECT {name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway")
    assert b"its name means " in answer
    assert f", {reason}, which has to be allowed itself".encode() in answer


def test_a_name_is_looked_up_once(
    ask: Ask, place: str, resolve: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SECURITY.md: what is connected to is the address that was looked at."""
    monkeypatch.setattr("pytest_agent_sandbox.host.egress.why_near", lambda _: "")
    name = f"site.example:{place.partition(':')[2]}"
    asked = resolve("site.example", ["127.0.0.1"])
    answer = ask(
        Egress(allowed_places([name])), f"GET http://{name}/ HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.0 200 OK")
    assert asked == ["site.example"]


def test_the_good_ones_of_a_names_addresses_are_used(
    ask: Ask, place: str, resolve: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "pytest_agent_sandbox.host.egress.why_near",
        lambda number: "" if str(number) == "127.0.0.1" else "near",
    )
    name = f"site.example:{place.partition(':')[2]}"
    resolve("site.example", ["::ffff:127.0.0.1", "127.0.0.2", "127.0.0.1"])
    answer = ask(
        Egress(allowed_places([name])), f"GET http://{name}/ HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.0 200 OK")


def test_clients_that_go_leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the far end does not go with them."""
    monkeypatch.setattr("pytest_agent_sandbox.host.egress._PATIENCE", 0.6)
    monkeypatch.setattr("pytest_agent_sandbox.host.egress._MOST_AT_ONCE", 20)

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read(-1)  # not before the other end goes
        await asyncio.sleep(1.5)
        writer.transport.abort()

    async def check() -> None:
        server = await asyncio.start_server(deaf, "127.0.0.1", 0)
        place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        egress = Egress(allowed_places([place]))
        for _ in range(20):
            _, writer = await egress.connect()
            writer.write(f"CONNECT {place} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            await asyncio.sleep(0.01)
            writer.transport.abort()
        with pytest.raises(ConnectionRefusedError, match="too many at once"):
            await egress.connect()
        await asyncio.sleep(1.0)
        assert not egress._serving
        server.close()
        await asyncio.sleep(1.0)  # for the far end to be done

    with asyncio.Runner() as runner:
        runner.run(check())


def test_an_allowed_place_that_is_not_there(ask: Ask) -> None:
    egress = Egress(allowed_places(["127.0.0.1:1"]))
    answer = ask(egress, b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert b"127.0.0.1:1 cannot be reached" in answer


def test_names_that_are_made_up_do_not_fill_the_memory(ask: Ask) -> None:
    egress = Egress(frozenset())
    for number in range(150):
        ask(egress, f"CONNECT host-{number}:443 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert len(egress.refused) == 101
    assert egress.refused["others"] == 50


@pytest.mark.parametrize(
    "place", ["example.org", "example.org:0", "https://example.org:443", "*:443", "a:x"]
)
def test_places_that_cannot_be_allowed(place: str) -> None:
    with pytest.raises(SettingsError, match="is not of the form host:port"):
        allowed_places([place])
