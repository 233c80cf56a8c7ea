"""The way into a container without a network, and out of it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

from pytest_agent_sandbox.containers import container_program
from pytest_agent_sandbox.containers.container import Container
from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.errors import SandboxDied, SandboxStartFailed
from pytest_agent_sandbox.host.program import command_line
from pytest_agent_sandbox.host.tunnel import Tunnel

# A server that sends back what it gets, and one that never reads.
SERVERS = """
cat > /tmp/serve.py <<'END'
import asyncio
async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write(b"!end")
    writer.close()
async def deaf(reader, writer):
    await asyncio.sleep(600)
async def main():
    await asyncio.start_server(echo, "127.0.0.1", 9000)
    await asyncio.start_server(deaf, "127.0.0.1", 9001, limit=1024)
    print("serving", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
END
exec python3 /tmp/serve.py
"""
ECHO, DEAF, NOBODY = 9000, 9001, 9002


@pytest.fixture
def echo(start) -> Container:
    container = start(SERVERS, network="none", ports=dict.fromkeys((ECHO, DEAF, NOBODY)))
    deadline = time.monotonic() + 10
    while "serving" not in container.log_tail():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return container


def connect(container: Container, port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", container.ports[port]), timeout=20)


def say(container: Container, data: bytes) -> bytes:
    """What the echo answers; all is said before the end is read."""
    with connect(container, ECHO) as end, ThreadPoolExecutor(1) as pool:
        reading = pool.submit(_read_all, end)
        end.sendall(data)
        end.shutdown(socket.SHUT_WR)
        return reading.result()


def _read_all(end: socket.socket) -> bytes:
    return b"".join(iter(lambda: end.recv(65536), b""))


def fill(end: socket.socket) -> None:
    """Sends until nothing more is taken."""
    end.settimeout(0.3)
    with suppress(TimeoutError):
        for _ in range(10_000):
            end.sendall(bytes(65536))
    end.settimeout(20)


def tunnels() -> list[str]:
    return [one.name for one in threading.enumerate() if "tunnel" in one.name]


def test_bytes_come_as_they_went_also_in_many_connections_at_once(echo: Container) -> None:
    data = os.urandom(3_000_000)
    assert say(echo, b"") == b"!end"
    assert say(echo, b"hello") == b"hello!end", "one half ended does not end the other"
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: say(echo, data), range(20)))
    wanted = hashlib.sha256(data + b"!end").digest()
    assert {hashlib.sha256(answer).digest() for answer in answers} == {wanted}


def test_who_reads_slowly_holds_up_nobody_else(echo: Container) -> None:
    with connect(echo, DEAF) as deaf, connect(echo, ECHO) as unread:
        for end in (deaf, unread):
            fill(end)
        began = time.monotonic()
        assert say(echo, b"x" * 1_000_000).endswith(b"x!end")
        assert time.monotonic() - began < 3


def test_a_port_where_nobody_listens(echo: Container) -> None:
    with connect(echo, NOBODY) as end:
        began = time.monotonic()
        assert end.recv(1) == b""
        assert time.monotonic() - began < 1
    assert say(echo, b"still there") == b"still there!end"


def test_the_end_of_the_container_ends_all(echo: Container) -> None:
    with connect(echo, ECHO) as end:
        end.sendall(b"a")
        assert end.recv(1) == b"a"
        assert tunnels()
        began = time.monotonic()
        echo.remove()
        assert time.monotonic() - began < 2
        with suppress(ConnectionResetError):
            assert end.recv(1) == b""
    assert tunnels() == []
    with pytest.raises(ConnectionRefusedError):
        connect(echo, ECHO)


def test_a_tunnel_that_is_ended_from_inside_is_the_sandboxs_end(
    echo: Container, engine: ContainerEngine
) -> None:
    with connect(echo, ECHO) as end:
        end.sendall(b"a")
        assert end.recv(1) == b"a"
        api = engine.client.api
        killing = api.exec_create(echo.id, ["pkill", "-9", "-f", "tunnel"], user="0")["Id"]
        api.exec_start(killing)
        assert end.recv(1) == b""
    assert echo.wait_for_end(3)
    with pytest.raises(SandboxDied, match=r"is out of reach: its process in the container"):
        echo.check()
    assert echo.state().status == "running"
    echo.remove()
    assert tunnels() == []


def test_a_tunnel_that_cannot_begin_is_no_hang(
    engine: ContainerEngine, start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_server(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    container = start("sleep 60", network="none")
    monkeypatch.setattr("pytest_agent_sandbox.host.tunnel.asyncio.start_server", no_server)
    began = time.monotonic()
    with pytest.raises(SandboxStartFailed, match="Too many open files"):
        Tunnel(container, {ECHO: None}, {}, lambda _: None)
    assert time.monotonic() - began < 5
    assert tunnels() == []


def test_it_fails_closed(engine: ContainerEngine, start) -> None:
    container = start("sleep 60")
    with pytest.raises(SandboxStartFailed, match=r"is not: there is a network interface eth0"):
        Tunnel(container, {ECHO: None}, {}, lambda _: None)
    assert tunnels() == []


def test_an_image_without_python(start, monkeypatch: pytest.MonkeyPatch) -> None:
    container = start("sleep 60", network="none")
    words = command_line("tunnel")
    words[2] = re.sub("(?<=for python in ).*?(?=;)", "no-such-program", words[2])
    monkeypatch.setattr(container_program, "command_line", lambda _title: words)
    with pytest.raises(SandboxStartFailed, match="there is no Python in it"):
        Tunnel(container, {ECHO: None}, {}, lambda _: None)
    assert tunnels() == []


def test_a_way_out_leads_where_it_is_said_to(engine: ContainerEngine, start) -> None:
    said = []

    async def allowed() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        said.append("asked")
        return await asyncio.open_connection("127.0.0.1", server.getsockname()[1])

    async def refused() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        raise ConnectionRefusedError("no")

    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=_answer, args=(server,))
        answering.start()
        ask = "for port in 7001 7002 7003; do curl -sS -m 5 http://127.0.0.1:$port/ 2>&1; done"
        container = start(
            f"sleep 1; {ask}; sleep 60",
            network="none",
            outwards={("127.0.0.1", 7001): allowed, ("127.0.0.1", 7002): refused},
        )
        deadline = time.monotonic() + 15
        while "7003" not in container.log_tail():
            assert time.monotonic() < deadline, container.log_tail()
            time.sleep(0.05)
        answering.join()
    lines = container.log_tail().splitlines()
    assert lines[0].startswith("hello from here")
    assert "Empty reply" in lines[-2] or "reset" in lines[-2]
    assert "refused" in lines[-1] or "connect" in lines[-1]
    assert said == ["asked"]


def _answer(server: socket.socket) -> None:
    end, _ = server.accept()
    with end:
        end.recv(65536)
        end.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 16\r\n\r\nhello from here\n")


def test_http_goes_through(start) -> None:
    container = start(
        "cd /tmp && echo words > file && exec python3 -m http.server 8000 --bind 127.0.0.1",
        network="none",
        ports={8000: None},
    )
    address = f"http://127.0.0.1:{container.ports[8000]}/file"
    deadline = time.monotonic() + 10
    while True:
        try:
            assert httpx.get(address, trust_env=False).text == "words\n"
            break
        except httpx.HTTPError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
